// SPDX-License-Identifier: Apache-2.0
// Rank correlation against values worked out by hand.
#include "core/rank_correlation.h"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier::core {
namespace {

TEST(Spearman, AsByHand) {
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {10, 200, 3000}), 1);
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {3, 2, 1}), -1);
  // Ranks 0 1 2 3 4 and 1 0 3 2 4: 1 - 6 * 4 / (5 * 24).
  EXPECT_NEAR(spearman({1, 2, 3, 4, 5}, {2, 1, 4, 3, 5}), 0.8, 1e-12);
  // Ties have mean ranks: 0.5 0.5 2 against 0 1 2.
  EXPECT_NEAR(spearman({1, 1, 2}, {1, 2, 3}), 1.5 / std::sqrt(1.5 * 2), 1e-12);
  EXPECT_TRUE(std::isnan(spearman({1, 1, 1}, {1, 2, 3})));
}

}  // namespace
}  // namespace espalier::core
