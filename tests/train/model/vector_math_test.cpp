// SPDX-License-Identifier: Apache-2.0
// The exponential of loops in vector code against the standard library's in double.
#include "model/vector_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace espalier::model {
namespace {

TEST(VectorMath, ExponentialIsWithinTwoUlp) {
  double worst = 0;
  for (double x = -86.9; x < 88; x += 0.00137) {
    const float f = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(f));
    worst = std::max(worst, std::abs(fast_exp(f) - exact) / exact);
  }
  EXPECT_LT(worst, 2.4e-7);
  EXPECT_LT(fast_exp(-1000.0f), 2e-38f);
  EXPECT_LT(fast_exp(-INFINITY), 2e-38f);
  EXPECT_GE(fast_exp(-INFINITY), 0.0f);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(fast_exp(NAN)));
}

}  // namespace
}  // namespace espalier::model
