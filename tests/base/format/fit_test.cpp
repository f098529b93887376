// SPDX-License-Identifier: Apache-2.0
// The exact search of a scale against a dense scan of scales of both signs.
#include "format/blocks/fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace espalier::format {
namespace {

double error(const std::vector<float>& x, const std::vector<float>& weight, double d, int lowest,
             int highest) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double q =
        d == 0 ? 0 : std::clamp(std::round(double(x[i]) / d), double(lowest), double(highest));
    sum += double(weight[i]) * (double(x[i]) - d * q) * (double(x[i]) - d * q);
  }
  return sum;
}

TEST(FitScaleExactly, NoOtherScaleIsBetter) {
  constexpr int kRanges[][2] = {{-1, 2}, {-1, 1}, {-2, 1}};
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    core::Rng rng(seed);
    std::vector<float> x, weight;
    for (int i = 0; i < 64 - static_cast<int>(seed % 3) * 7; ++i) {
      x.push_back(
          static_cast<float>(rng.normal() * (seed % 4 == 1 ? std::exp(2 * rng.normal()) : 1.0) +
                             (seed % 5 == 2 ? 1.0 : 0.0)));
      weight.push_back(static_cast<float>(std::pow(rng.uniform(), 3.0)));
    }
    if (seed % 6 == 3) std::fill(x.begin(), x.begin() + 20, 0.0f);
    float largest = 0;
    for (const float v : x) largest = std::max(largest, std::abs(v));
    for (const auto& [lowest, highest] : kRanges) {
      const double found = error(
          x, weight,
          fit_scale_exactly(x.data(), weight.data(), static_cast<int>(x.size()), lowest, highest),
          lowest, highest);
      for (int step = 1; step <= 4000; ++step)
        for (const double sign : {1.0, -1.0})
          ASSERT_LE(found, error(x, weight, sign * 2.2 * largest * step / 4000, lowest, highest) *
                               (1 + 1e-6))
              << seed << " " << lowest << " " << highest;
    }
  }
}

TEST(FitScaleExactly, OddInputs) {
  const std::vector<float> weight(64, 1.0f), zero(64, 0.0f);
  EXPECT_EQ(fit_scale_exactly(zero.data(), weight.data(), 64, -1, 2), 0.0f);
  EXPECT_EQ(fit_scale_exactly(weight.data(), zero.data(), 64, -1, 2), 0.0f);
  std::vector<float> x(64, 1.5f);
  EXPECT_EQ(std::abs(fit_scale_exactly(x.data(), weight.data(), 64, -1, 2)), 1.5f);
  x[9] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(fit_scale_exactly(x.data(), weight.data(), 64, -1, 2), 0.0f);
  x[9] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isfinite(fit_scale_exactly(x.data(), weight.data(), 64, -1, 2)));
}

}  // namespace
}  // namespace espalier::format
