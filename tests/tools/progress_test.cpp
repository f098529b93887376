// SPDX-License-Identifier: Apache-2.0
// Speeds and times left, bars and lines for logs, and the file of events. Time is given, not
// measured.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "progress_file.h"
#include "progress_stage.h"
#include "progress_text.h"
#include "support/temp_dir.h"

namespace espalier::tool {
namespace {

core::ProgressEvent layers(std::int64_t done, std::int64_t total = 100) {
  return {"calibrate", done, total, "layers", ""};
}

TEST(Stages, ASpeedIsThatOfTheLastHalfMinute) {
  Stages stages(0);
  EXPECT_FALSE(stages.add(layers(0, 1000), 1)->rate);
  // One a second for 100 s, then ten a second.
  for (int i = 1; i <= 100; ++i) {
    const auto report = stages.add(layers(i, 1000), 1 + i);
    ASSERT_TRUE(report->rate);
    EXPECT_NEAR(*report->rate, 1, 1e-9) << i;
  }
  double slow = 0, fast = 0;
  for (int i = 1; i <= 600; ++i) {
    const auto report = stages.add(layers(100 + i, 1000), 101 + i / 10.0);
    if (i == 100) slow = *report->rate;  // 10 s later
    if (i == 400) fast = *report->rate;
  }
  EXPECT_GT(slow, 2);
  EXPECT_LT(slow, 6);
  EXPECT_NEAR(fast, 10, 0.2);
}

TEST(Stages, TheTimeLeftDoesNotJump) {
  Stages stages(0);
  stages.add(layers(0, 1000), 0);
  double before = 0;
  for (int i = 1; i <= 60; ++i) before = stages.add(layers(i, 1000), i)->seconds_left.value_or(0);
  EXPECT_NEAR(before, 940, 1);
  // A piece that takes four seconds: the measured end moves by a hundred seconds, the shown one by
  // part of that.
  const double behind = *stages.add(layers(61, 1000), 64)->seconds_left;
  EXPECT_GT(behind, before);
  EXPECT_LT(behind, before + 60);
}

TEST(Stages, RareEventsHaveASpeedToo) {
  Stages stages(0);
  stages.add(layers(0), 0);
  for (int i = 1; i <= 20; ++i) {
    const auto report = stages.add(layers(i), i * 300.0);
    EXPECT_NEAR(*report->rate, 1 / 300.0, 1e-9);
    EXPECT_NEAR(*report->seconds_left, (100 - i) * 300.0, 1);
  }
}

TEST(Stages, AResumedRunIsNotFasterThanItIs) {
  Stages stages(0);
  EXPECT_FALSE(stages.add(layers(90), 10)->rate);
  EXPECT_NEAR(*stages.add(layers(91), 12)->rate, 0.5, 1e-9);
  const auto end = stages.add(layers(100), 30);
  EXPECT_TRUE(end->last);
  EXPECT_NEAR(*end->rate, 0.5, 1e-9);
}

TEST(Stages, BeginAndEnd) {
  Stages stages(0);
  EXPECT_TRUE(stages.add(layers(1, 3), 2)->first);
  EXPECT_FALSE(stages.add(layers(2, 3), 4)->first);
  const auto end = stages.add(layers(3, 3), 6);
  EXPECT_TRUE(end->last);
  EXPECT_NEAR(end->elapsed, 6, 1e-9) << "the first layer was reported when it was done";
  EXPECT_FALSE(stages.add(layers(3, 3), 7)) << "an end is said once";
  EXPECT_TRUE(stages.add(layers(1, 3), 8)->first) << "again from the beginning";
  EXPECT_TRUE(stages.add(layers(2, 5), 8)->first) << "another total";
  const core::ProgressEvent other{"quantize", 0, 9, "tensors", ""};
  EXPECT_TRUE(stages.add(other, 9)->first);
  EXPECT_FALSE(stages.add(layers(3, 5), 9)->first) << "stages may take turns";
}

TEST(Stages, NoticesAreSaidOnce) {
  Stages stages(0);
  const core::ProgressEvent notice{"text", 0, 0, "", "t.txt: 1200 tokens"};
  const auto report = stages.add(notice, 0);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->counts);
  EXPECT_FALSE(stages.add(notice, 1));
  EXPECT_TRUE(stages.add({"text", 0, 0, "", "u.txt: 1200 tokens"}, 1));
  EXPECT_FALSE(stages.add({"quantize", 0, 0, "tensors", ""}, 1)) << "no 0 of 0";
  EXPECT_FALSE(stages.add({"bench", 0, 1, "", "a child"}, 1)->counts) << "what has no unit";
}

TEST(Text, ALogHasALineEveryHalfMinuteAndTheLastOne) {
  Stages stages(0);
  ProgressText text;
  std::string log;
  for (int i = 0; i <= 1000; ++i) {
    const auto report =
        stages.add({"distill", i * 1000, 1'000'000, "tokens", "loss 2.31"}, i / 10.0);
    log += text.show(*report, i / 10.0, 0);
  }
  EXPECT_EQ(log,
            "distill: 0 of 1.0M tokens  loss 2.31\n"
            "distill: 300k of 1.0M tokens  10.0k tokens/s  1m10s left  loss 2.31\n"
            "distill: 600k of 1.0M tokens  10.0k tokens/s  40s left  loss 2.31\n"
            "distill: 900k of 1.0M tokens  10.0k tokens/s  10s left  loss 2.31\n"
            "distill: 1.0M of 1.0M tokens  10.0k tokens/s  in 1m40s  loss 2.31\n");
  EXPECT_EQ(text.clear(0) + text.leave(), "");
}

TEST(Text, StagesThatTakeTurnsKeepTheirIntervals) {
  Stages stages(0);
  ProgressText text;
  std::string log;
  for (int i = 0; i < 40; ++i)
    for (const char* stage : {"a", "b"})
      log += text.show(*stages.add({stage, i, 100, "layers", ""}, i), i, 0);
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 4) << log;
}

TEST(Text, ALineCannotBeBroken) {
  StageReport report{.event = {"text", 0, 0, "", "a\nb\r\033[2J\x7f.txt"}};
  EXPECT_EQ(log_line(report), "text: a?b??[2J?.txt");
  report = {.event = {"x\n", 1, 2, "layers", "\033"}, .counts = true};
  for (const char c : bar_line(report, 200) + log_line(report))
    EXPECT_GE(static_cast<unsigned char>(c), 32);
}

TEST(Text, ABarFitsAndGivesUpWhatMattersLeast) {
  const StageReport report{
      .event = {"distill", 1'200'000, 2'400'000, "tokens", "loss 2.31 \u00e9\u4e2d"},
      .counts = true,
      .rate = 1234,
      .seconds_left = 410};
  EXPECT_EQ(
      bar_line(report, 200),
      "distill [##############..............] 1.2M of 2.4M tokens  1.2k tokens/s  6m50s left  "
      "loss 2.31 \u00e9\u4e2d");
  EXPECT_EQ(
      bar_line(report, 87),
      "distill [##############..............] 1.2M of 2.4M tokens  1.2k tokens/s  6m50s left");
  EXPECT_EQ(bar_line(report, 70),
            "distill [######.......] 1.2M of 2.4M tokens  1.2k tokens/s  6m50s left");
  EXPECT_EQ(bar_line(report, 52), "distill [#####.....] 1.2M of 2.4M tokens  6m50s left");
  EXPECT_EQ(bar_line(report, 40), "distill [#####.....] 1.2M of 2.4M tokens");
  EXPECT_EQ(bar_line(report, 20), "distill 1.2M of 2.4M");
  for (int columns = 0; columns < 120; ++columns)
    EXPECT_LE(columns_of(bar_line(report, columns)), columns) << columns;
}

TEST(Text, ABarIsDrawnAnewAndMakesWay) {
  Stages stages(0);
  ProgressText text;
  const auto at = [&](std::int64_t done, double now, int columns) {
    return text.show(*stages.add(layers(done, 4), now), now, columns);
  };
  EXPECT_EQ(at(1, 1, 60), "calibrate [#######.....................] 1 of 4 layers");
  EXPECT_EQ(at(2, 1.05, 60), "") << "too soon";
  EXPECT_EQ(at(2, 2, 60).substr(0, 4), "\r\033[J");
  EXPECT_EQ(at(2, 3, 20).substr(0, 8), "\033[2A\r\033[J") << "three lines of the narrower terminal";
  EXPECT_EQ(text.clear(80), "\r\033[J");
  EXPECT_EQ(text.clear(80), "");
  EXPECT_EQ(at(3, 4, 80).front(), 'c') << "nothing to clear";
  const auto notice = stages.add({"text", 0, 0, "", "x"}, 5);
  EXPECT_EQ(text.show(*notice, 5, 80), "\r\033[Jtext: x\n");
  EXPECT_EQ(at(4, 6, 80).back(), '\n');
  EXPECT_EQ(text.leave(), "");
  at(1, 7, 80);
  const auto other = stages.add({"prune", 1, 4, "layers", ""}, 8);
  EXPECT_EQ(text.show(*other, 8, 80).front(), '\n') << "the unfinished bar stays";
}

class File : public ::testing::Test {
 protected:
  std::vector<nlohmann::json> lines() const {
    std::vector<nlohmann::json> out;
    std::ifstream in(path_);
    for (std::string line; std::getline(in, line);) out.push_back(nlohmann::json::parse(line));
    return out;
  }
  support::TempDir dir_;
  const std::string path_ = dir_.file("progress.jsonl");
  std::vector<std::string> complaints_;
  std::function<void(const std::string&)> complain_ = [this](const std::string& text) {
    complaints_.push_back(text);
  };
};

TEST_F(File, HoldsBeginProgressAndEndOfEachRun) {
  for (int run = 0; run < 2; ++run) {
    ProgressFile file(path_, complain_);
    file.begin("espalier 1", {"espalier", "run", "a \"b\" \xff"});
    EXPECT_EQ(lines().size(), run * 6 + 1) << "written at once";
    Stages stages(0);
    file.add(*stages.add({"text", 0, 0, "", "t"}, 0), 0);
    for (int i = 0; i <= 1500; ++i) file.add(*stages.add(layers(i, 1500), i / 1000.0), i / 1000.0);
    file.end(5, 2);
  }
  const auto all = lines();
  ASSERT_EQ(all.size(), 12u);
  EXPECT_EQ(all[6]["event"], "begin");
  EXPECT_EQ(all[6]["arguments"][2], "a \"b\" \ufffd");
  EXPECT_EQ(all[7]["event"], "notice");
  EXPECT_EQ(all[8]["done"], 0);
  EXPECT_TRUE(all[8]["rate"].is_null());
  EXPECT_EQ(all[9]["done"], 1000);
  EXPECT_NEAR(all[9]["rate"].get<double>(), 1000, 1);
  EXPECT_NEAR(all[9]["seconds_left"].get<double>(), 0.5, 0.01);
  EXPECT_EQ(all[10]["done"], 1500);
  EXPECT_EQ(all[10]["seconds_left"], 0);
  EXPECT_EQ(all[11]["event"], "end");
  EXPECT_EQ(all[11]["exit_code"], 5);
  for (const auto& line : all) {
    EXPECT_EQ(line["time"].get<std::string>().size(), 24u);
    EXPECT_TRUE(line.contains("seconds"));
  }
  EXPECT_TRUE(complaints_.empty());
}

TEST_F(File, ALineThatWasCutIsEnded) {
  {
    std::ofstream(path_) << R"({"time":"2026)";
  }
  ProgressFile(path_, complain_).end(0, 1);
  std::ifstream in(path_);
  std::string cut, whole;
  std::getline(in, cut);
  std::getline(in, whole);
  EXPECT_EQ(nlohmann::json::parse(whole)["event"], "end");
}

TEST_F(File, OtherContentIsRefusedAndKept) {
  for (const char* content : {"GGUF and more", R"({"text": "a line of a training text"})", "x"}) {
    {
      std::ofstream(path_) << content;
    }
    try {
      ProgressFile(path_, complain_);
      FAIL() << content;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::usage);
      EXPECT_NE(std::string(e.what()).find(path_), std::string::npos);
    }
    std::ostringstream kept;
    kept << std::ifstream(path_).rdbuf();
    EXPECT_EQ(kept.str(), content);
  }
}

TEST_F(File, AFailureIsSaidOnce) {
  {
    ProgressFile file("/dev/full", complain_);
    file.begin("p", {});
    file.end(0, 1);
  }
  ASSERT_EQ(complaints_.size(), 1u);
  EXPECT_NE(complaints_[0].find("No space left on device"), std::string::npos) << complaints_[0];
  ProgressFile file(dir_.file("none/p.jsonl"), complain_);
  file.begin("p", {});
  ASSERT_EQ(complaints_.size(), 2u);
  EXPECT_NE(complaints_[1].find("none/p.jsonl"), std::string::npos) << complaints_[1];
}

}  // namespace
}  // namespace espalier::tool
