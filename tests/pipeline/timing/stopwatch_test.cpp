// SPDX-License-Identifier: Apache-2.0
// Predictions from speeds that are given, the order and the time of measuring, and samples that
// grow.
#include "timing/stopwatch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <utility>

#include "core/error.h"
#include "timing/sample.h"

namespace espalier::timing {
namespace {

class Measuring : public ::testing::Test {
 protected:
  // Work of `seconds` by the first guess, which takes `times` as long.
  Item item(const std::string& kind, const std::string& key, double seconds, double times) {
    return {kind, key, 100 * seconds, 100, [=, this](double room) {
              measured_.push_back(key);
              room_ += room;
              return 100 / times;
            }};
  }
  std::vector<std::string> measured_;
  double room_ = 0;
};

TEST_F(Measuring, SecondsAreAmountsByTheirMeasuredSpeeds) {
  Stopwatch watch;
  const Work first{item("a", "a1", 10, 2), item("b", "b1", 5, 3)}, second{item("a", "a1", 1, 2)};
  EXPECT_DOUBLE_EQ(watch.seconds(first), 15) << "a guess, before anything is timed";
  watch.measure(std::vector<Work>{first, second}, 1);
  EXPECT_DOUBLE_EQ(watch.seconds(first), 35);
  EXPECT_DOUBLE_EQ(watch.seconds(second), 2);
  EXPECT_EQ(measured_, (std::vector<std::string>{"a1", "b1"})) << "each once, the largest first";
  EXPECT_EQ(watch.speeds().size(), 2u);
  watch.measure(std::vector<Work>{first}, 1);
  EXPECT_EQ(measured_.size(), 2u) << "known already";
  EXPECT_LE(room_, 2) << "none of it was used";
}

TEST_F(Measuring, WhatIsNotTimedIsAsFastAsItsKind) {
  Stopwatch watch;
  Item unknown = item("a", "a2", 10, 0);
  unknown.measure = {};
  const Item small = item("a", "a3", 0.01, 7), other = item("c", "c1", 0.01, 7);
  watch.measure(std::vector<Work>{Work{item("a", "a1", 10, 2), item("b", "b1", 10, 8), unknown,
                                       small, other}},
                1);
  EXPECT_EQ(measured_.size(), 2u) << "neither what cannot be timed nor what does not matter";
  EXPECT_NEAR(watch.seconds(Work{unknown}), 20, 1e-9);
  EXPECT_NEAR(watch.seconds(Work{small}), 0.02, 1e-9);
  EXPECT_NEAR(watch.seconds(Work{other}), 0.04, 1e-9) << "of all that was timed";
}

TEST_F(Measuring, StopsWhenItsTimeIsOver) {
  Stopwatch watch;
  Work work;
  for (int i = 0; i < 100; ++i) {
    Item slow = item("a", "a" + std::to_string(i), 10 + i, 1);
    slow.measure = [this](double) {
      measured_.emplace_back();
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      return 100.0;
    };
    work.push_back(std::move(slow));
  }
  watch.measure(std::vector<Work>{work}, 0.2);
  EXPECT_GE(measured_.size(), 2u);
  EXPECT_LE(measured_.size(), 7u);
  EXPECT_GE(watch.spent(), 0.06);
}

TEST_F(Measuring, ASpeedThatIsNoneIsRefused) {
  Item broken = item("a", "a1", 10, 1);
  broken.measure = [](double) { return 0.0; };
  EXPECT_THROW(Stopwatch().measure(std::vector<Work>{Work{broken}}, 1), core::Error);
  EXPECT_THROW(Stopwatch().measure(std::vector<Work>{Work{item("a", "a1", -1, 1)}}, 1),
               core::Error);
}

TEST(WorkTest, AddsAndMultiplies) {
  Work work{{"a", "a1", 3, 1, {}}};
  work += Item{"b", "b1", 4, 1, {}};
  work += 2.0 * work;
  double sum = 0;
  for (const Item& item : work) sum += item.amount;
  EXPECT_EQ(work.size(), 4u);
  EXPECT_DOUBLE_EQ(sum, 21);
}

TEST(Sample, GrowsIntoItsTime) {
  std::vector<std::int64_t> sizes;
  const auto prepare = [&](std::int64_t n) {
    sizes.push_back(n);
    return [n] { std::this_thread::sleep_for(std::chrono::microseconds(200 * n)); };
  };
  const double begin = seconds_now(), grown = speed(0.3, 1, 1'000'000, prepare);
  EXPECT_LT(seconds_now() - begin, 1.5);
  EXPECT_GT(sizes.size(), 1u);
  EXPECT_GT(sizes.back(), 16);
  EXPECT_LE(grown, 5001);
  EXPECT_GT(grown, 1500);
  sizes.clear();
  speed(0.1, 4, 8, prepare);
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{4, 8})) << "no more than there is";
}

TEST(Sample, TheLeastThatCanBeTimedMayTakeLonger) {
  int runs = 0;
  const double per_second = speed(0.02, 1, 100, [&](std::int64_t) {
    return [&] {
      ++runs;
      std::this_thread::sleep_for(std::chrono::milliseconds(40));
    };
  });
  EXPECT_EQ(runs, 1);
  EXPECT_LE(per_second, 25.1);
}

}  // namespace
}  // namespace espalier::timing
