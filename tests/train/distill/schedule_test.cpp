// SPDX-License-Identifier: Apache-2.0
// What every schedule keeps, and the curve of each, computed another way.
#include "distill/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "core/error.h"

namespace espalier::distill {
namespace {

double rate(const std::string& name, std::int64_t step, std::int64_t steps, double warmup,
            double last) {
  return learning_rate(schedule_by_name(name), step, steps, {2.0, warmup, last});
}

class EverySchedule : public testing::TestWithParam<std::string> {};

TEST_P(EverySchedule, WarmsUpInEqualStepsAndNeverRisesAfterwards) {
  for (std::int64_t i = 0; i < 10; ++i)
    EXPECT_NEAR(rate(GetParam(), i, 100, 0.1, 0.2), 0.2 * static_cast<double>(i + 1), 1e-12);
  EXPECT_NEAR(rate(GetParam(), 10, 100, 0.1, 0.2), 2, 1e-12);
  for (std::int64_t i = 11; i < 100; ++i)
    EXPECT_LE(rate(GetParam(), i, 100, 0.1, 0.2), rate(GetParam(), i - 1, 100, 0.1, 0.2) + 1e-12);
}
TEST_P(EverySchedule, EndsAtTheFinalRatioIfItUsesIt) {
  const bool falls = schedule_by_name(GetParam()).uses_final_ratio;
  for (const double last : {0.0, 0.2, 1.0})
    EXPECT_NEAR(rate(GetParam(), 99, 100, 0.1, last), falls ? 2 * last : 2, 1e-12);
}
TEST_P(EverySchedule, HasOneStepOrOnlyWarmUp) {
  EXPECT_NEAR(rate(GetParam(), 0, 1, 0.0, 0.1), 2, 1e-12);
  EXPECT_NEAR(rate(GetParam(), 0, 1, 0.5, 0.1), 2, 1e-12);
  EXPECT_NEAR(rate(GetParam(), 9, 10, 1.0, 0.1), 2, 1e-12);
}
INSTANTIATE_TEST_SUITE_P(Schedules, EverySchedule, testing::ValuesIn(schedule_names()),
                         [](const auto& param) { return param.param; });

// The rate at 0, 1/4, 1/2, 3/4, 9/10 and 1 of the way, for a peak of 2 and a last rate of 0.4.
const std::map<std::string, std::vector<double>> kCurves{
    {"cosine",
     {2, 1.6 * (0.5 + std::sqrt(0.125)) + 0.4, 1.2, 1.6 * (0.5 - std::sqrt(0.125)) + 0.4,
      0.4391547869638771, 0.4}},
    {"constant", {2, 2, 2, 2, 2, 2}},
    {"linear", {2, 1.6, 1.2, 0.8, 0.56, 0.4}},
    {"wsd", {2, 2, 2, 2, 0.4 + 1.6 * (1 - std::sqrt(0.5)), 0.4}},
};
TEST(Schedules, HaveTheCurvesOfTheirFormulas) {
  ASSERT_EQ(all_schedules().size(), kCurves.size());
  const double places[] = {0, 0.25, 0.5, 0.75, 0.9, 1};
  for (const auto& [name, curve] : kCurves)
    for (std::size_t i = 0; i < curve.size(); ++i)
      EXPECT_NEAR(rate(name, static_cast<std::int64_t>(places[i] * 200), 201, 0, 0.2), curve[i],
                  1e-9)
          << name << " at " << places[i];
}
TEST(Schedules, AnUnknownNameIsRefused) {
  try {
    schedule_by_name("cosin");
    FAIL() << "accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("'cosine'"), std::string::npos);
  }
}

}  // namespace
}  // namespace espalier::distill
