// SPDX-License-Identifier: Apache-2.0
// Intervals against what is known of them, and importance of layers.
#include "compare/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compare/importance.h"

namespace espalier::compare {
namespace {

TEST(Bootstrap, OfAConstantHasNoWidth) {
  const Bootstrap draws(20, 1000);
  const Interval interval =
      draws.of_mean(std::vector<double>(20, 6.0), std::vector<double>(20, 3.0));
  EXPECT_DOUBLE_EQ(interval.low, 2);
  EXPECT_DOUBLE_EQ(interval.high, 2);
}

TEST(Bootstrap, HoldsTheMiddleOfTheDrawsOfAMean) {
  // Of n values of 0 and n of 1 the mean of 2n draws has the deviation 1 / sqrt(8 n).
  constexpr std::size_t kHalf = 200;
  std::vector<double> values(2 * kHalf, 0.0);
  for (std::size_t i = 0; i < kHalf; ++i) values[i] = 1;
  const Interval interval =
      Bootstrap(2 * kHalf, 10'000).of_mean(values, std::vector<double>(2 * kHalf, 1.0));
  const double expected = 1.95996 / std::sqrt(8.0 * kHalf);
  EXPECT_NEAR(interval.low, 0.5 - expected, 0.1 * expected);
  EXPECT_NEAR(interval.high, 0.5 + expected, 0.1 * expected);
}

TEST(Bootstrap, WeighsWindowsByTheirTokens) {
  const Bootstrap draws(2, 2000);
  const Interval interval = draws.of_mean({0, 9}, {1, 9});
  EXPECT_DOUBLE_EQ(interval.low, 0);
  EXPECT_DOUBLE_EQ(interval.high, 1);
}

NamedScores named(const std::string& name, const std::vector<double>& first,
                  const std::vector<double>& second) {
  NamedScores out{name, {}};
  out.scores.all = {{"ffn.0", first}, {"ffn.1", second}, {"layers", {0.2, 0.1}}};
  return out;
}

TEST(Importance, OfLayersAndBetweenCriteria) {
  const std::vector<NamedScores> all{named("a", {1, 2, 3}, {2, 4, 6}),
                                     named("b", {3, 2, 1}, {1, 2, 3})};
  const auto heat = importance_of(all);
  ASSERT_EQ(heat.size(), 2);
  EXPECT_EQ(heat[0].at("axis"), "ffn");
  EXPECT_EQ(heat[0].at("layers").dump(), "[[0.5,1.0],[1.0,1.0]]");
  EXPECT_EQ(heat[1].at("axis"), "layers");
  EXPECT_EQ(heat[1].at("layers").dump(), "[[1.0,1.0],[0.5,0.5]]");
  const auto agreement = correlation_of(all);
  ASSERT_GE(agreement.size(), 1);
  // -1 in the first layer and 1 in the second.
  EXPECT_DOUBLE_EQ(agreement[0].at("values")[0][1].get<double>(), 0);
  EXPECT_DOUBLE_EQ(agreement[0].at("values")[1][1].get<double>(), 1);
}

}  // namespace
}  // namespace espalier::compare
