// SPDX-License-Identifier: Apache-2.0
// Tasks item by item against lm-evaluation-harness 0.4.13 (tests/golden/tasks, by
// scripts/golden/tasks.py), on both engines.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "export/export_gguf.h"
#include "support/temp_dir.h"
#include "verify/gates.h"
#include "verify/measure_tasks.h"
#include "verify/verify.h"

namespace espalier::verify {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const std::string kFolder = ESPALIER_SOURCE_DIR "/tests/golden/tasks";
const char* const kLayouts[] = {"arc", "hellaswag", "piqa", "winogrande", "mmlu", "lambada"};
// Both sides compute in float32. Logits are below 64, so that one log-probability differs by some
// 2^-18 after sums in another order, and a continuation has at most 64 tokens.
constexpr double kTolerance = 1e-3;

struct Golden {
  Golden() : all(Json::parse(core::read_text_file(kFolder + "/golden.json"))) {
    fs::copy(kFolder + "/model", dir.file("bos"));
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy_file(kFolder + "/bos/" + name, dir.file("bos") + "/" + name,
                    fs::copy_options::overwrite_existing);
  }
  std::string model(const std::string& name) const {
    return name == "plain" ? kFolder + "/model" : dir.file("bos");
  }
  std::string gguf(const std::string& name, const char* format) const {
    const auto source = checkpoint::Checkpoint::open(model(name));
    const std::string file = dir.file(name + "." + format + ".gguf");
    exporter::export_gguf(source, plan::quant_plan(source.arch(), source.dims(), format), file, {},
                          {});
    return file;
  }
  support::TempDir dir;
  Json all;
};

TaskResults measure(const EvalModel& model, const std::string& layout,
                    const TaskOptions& options = {.threads = 2}) {
  const std::vector<tasks::Task> task{
      tasks::read_task({layout, kFolder + "/" + layout + ".jsonl"})};
  EXPECT_EQ(task[0].layout->name, layout);
  return measure_tasks(model, task, options, {});
}

std::vector<Json> items_of(const TaskResults& results) {
  std::vector<Json> out;
  std::istringstream lines(results.lines);
  for (std::string line; std::getline(lines, line);) out.push_back(Json::parse(line));
  return out;
}

// The largest difference of a log-likelihood.
double distance(const std::vector<Json>& items, const Json& golden) {
  double out = 0;
  EXPECT_EQ(items.size(), golden.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto ours = items[i].at("log_likelihoods").get<std::vector<double>>(),
               theirs = golden[i].at("log_likelihoods").get<std::vector<double>>();
    EXPECT_EQ(ours.size(), theirs.size());
    for (std::size_t j = 0; j < std::min(ours.size(), theirs.size()); ++j)
      out = std::max(out, std::abs(ours[j] - theirs[j]));
  }
  return out;
}

TEST(Tasks, EqualTheHarnessItemByItem) {
  const Golden g;
  std::size_t requests = 0, truncated = 0;
  for (const char* name : {"plain", "bos"})
    for (const char* layout : kLayouts) {
      SCOPED_TRACE(std::string(name) + " " + layout);
      const TaskResults results = measure({g.model(name)}, layout);
      const std::vector<Json> items = items_of(results);
      const Json& golden = g.all.at("models").at(name).at(layout);
      EXPECT_LT(distance(items, golden.at("items")), kTolerance);
      for (std::size_t i = 0; i < items.size(); ++i) {
        const Json& theirs = golden.at("items")[i];
        requests += theirs.at("greedy").size();
        truncated += items[i].contains("truncated");
        EXPECT_EQ(items[i].at("greedy"), theirs.at("greedy")) << i;
        for (const char* metric : {"acc", "acc_norm", "acc_bytes"}) {
          ASSERT_EQ(items[i].contains(metric), theirs.contains(metric)) << metric;
          if (theirs.contains(metric)) {
            EXPECT_EQ(items[i][metric], theirs[metric]) << i << metric;
          }
        }
      }
      const Json& summary = results.by_name.at(layout);
      std::size_t metrics = 0;
      for (const auto& [metric, value] : golden.at("metrics").items()) {
        const double expected = value.get<double>();
        EXPECT_NEAR(summary.at(metric).get<double>() / std::max(expected, 1e-9),
                    expected / std::max(expected, 1e-9), 1e-3)
            << metric;
        ++metrics;
      }
      EXPECT_EQ(metrics, std::string(layout) == "lambada" ? 3u : 6u);
    }
  EXPECT_EQ(requests, 2 * 94u);
  EXPECT_EQ(truncated, 2u);  // one of each model
}

// Another tokenizer is another result: the comparison above can fail.
TEST(Tasks, ControlsAreSeen) {
  const Golden g;
  for (const char* layout : kLayouts) {
    const std::vector<Json> items = items_of(measure({g.model("bos")}, layout));
    EXPECT_GT(distance(items, g.all.at("models").at("plain").at(layout).at("items")), 0.1)
        << layout;
  }
}

TEST(Tasks, TheDeviceRuntimeAgrees) {
  const Golden g;
  for (const char* name : {"plain", "bos"}) {
    const std::string file = g.gguf(name, "f32");
    for (const char* layout : kLayouts) {
      SCOPED_TRACE(std::string(name) + " " + layout);
      const Json& golden = g.all.at("models").at(name).at(layout).at("items");
      // The same weights and tokens.
      EXPECT_LT(distance(items_of(measure({file}, layout)), golden), kTolerance);
      // The cache holds F16, and kernels may round activations: of some 150 nats.
      EXPECT_LT(distance(items_of(measure({file, Engine::device}, layout)), golden), 0.5);
    }
  }
}

// What goes through a layer together is a matter of memory alone.
TEST(Tasks, ChunksChangeOnlyRounding) {
  const Golden g;
  const std::vector<Json> whole = items_of(measure({g.model("plain")}, "arc")),
                          small =
                              items_of(measure({g.model("plain")}, "arc",
                                               {.memory = {.output_bytes = 0, .buffer_bytes = 1}}));
  Json as_golden = whole;
  EXPECT_LT(distance(small, as_golden), 1e-4);
}

TEST(Tasks, ItemsThatTheModelCannotReadAreRefusedWithTheirLine) {
  const Golden g;
  std::string word;
  for (int i = 0; i < 300; ++i) word += "xq7"[i % 3];
  const std::string path = g.dir.file("long.jsonl");
  core::write_text_file(path, "{\"text\":\"a b\"}\n{\"text\":\"a " + word + "\"}\n");
  const std::vector<tasks::Task> task{tasks::read_task({"long", path})};
  try {
    measure_tasks({g.model("plain")}, task, {}, {});
    ADD_FAILURE() << "a continuation longer than the context";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    EXPECT_NE(std::string(e.what()).find("long.jsonl:2: a continuation of"), std::string::npos)
        << e.what();
  }
}

TEST(TaskGates, ReadTheTasksOfACard) {
  const Json card{{"tasks", {{"arc.easy", {{"acc_norm", 0.4}}}}}};
  const auto passes = [&](const char* gate, double limit) {
    bool passed = true;
    check_gates({{gate, limit}}, card, passed);
    return passed;
  };
  EXPECT_TRUE(passes("task.arc.easy.acc_norm_min", 0.3));
  EXPECT_FALSE(passes("task.arc.easy.acc_norm_min", 0.5));
  EXPECT_TRUE(passes("task.arc.easy.acc_norm_max", 0.5));
  EXPECT_FALSE(passes("task.arc.easy.acc_min", 0));   // the card has no such value
  EXPECT_FALSE(passes("task.piqa.acc_norm_min", 0));  // nor such a task
  for (const char* unknown : {"task.arc.easy.f1_min", "task..acc_min", "task.acc_min", "acc_min"})
    EXPECT_THROW(passes(unknown, 0), core::Error) << unknown;
  EXPECT_EQ(task_gate_patterns().size(), 8u);
  EXPECT_NO_THROW(require_tasks_of_gates({{"task.a.acc_min", 0}, {"kl_mean_max", 1}}, {"b", "a"}));
  EXPECT_THROW(require_tasks_of_gates({{"task.a.acc_min", 0}}, {"b"}), core::Error);
}

TEST(TaskGates, ACardHasTheTasksOfFileAndTeacher) {
  const Golden g;
  VerifyOptions options;
  options.teacher = g.model("plain");
  options.text_path = g.dir.file("text.txt");
  std::string words;
  for (int i = 0; i < 200; ++i) words += "red boats " + std::to_string(i * 37 % 101) + ", ";
  core::write_text_file(options.text_path, words);
  options.context = 64;
  options.max_windows = 1;
  options.threads = 2;
  options.with_speed = false;
  options.tasks = {{"easy", kFolder + "/arc.jsonl"}, {"words", kFolder + "/lambada.jsonl"}};
  options.gates = {{"task.easy.acc_min", 0}, {"task.words.acc_min", 0.99}};
  const VerifyResult result = verify(g.gguf("plain", "f16"), options, {});
  const Json& tasks = result.card.at("tasks");
  EXPECT_EQ(tasks.at("easy").at("items"), 7);
  const Json& golden = g.all.at("models").at("plain");
  EXPECT_NEAR(tasks.at("easy").at("teacher_acc").get<double>(),
              golden.at("arc").at("metrics").at("acc").get<double>(), 1e-9);
  EXPECT_NEAR(tasks.at("words").at("teacher_perplexity").get<double>() /
                  golden.at("lambada").at("metrics").at("perplexity").get<double>(),
              1, 1e-3);
  EXPECT_EQ(result.failures(), "1 of 2 gates failed");
  EXPECT_NE(readable_card(result.card).find("task        easy: acc "), std::string::npos);
}

}  // namespace
}  // namespace espalier::verify
