// SPDX-License-Identifier: Apache-2.0
// The measure that tests of growth use: quadratic work must not pass for linear.
#include "support/growth.h"

#include <gtest/gtest.h>

namespace espalier::core {
namespace {

// Additions that the compiler must carry out.
void add(long times) {
  volatile long sum = 0;
  for (long i = 0; i < times; ++i) sum = sum + i;
}

TEST(Growth, TellsQuadraticFromLinear) {
  const auto linear = [](long n) { add(1000 * n); };
  const auto quadratic = [](long n) { add(n * n); };
  EXPECT_LT(support::growth(linear, 250L, 2000L), support::kLinear);
  EXPECT_GT(support::growth(quadratic, 1000L, 8000L), support::kLinear);
}

}  // namespace
}  // namespace espalier::core
