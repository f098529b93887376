// SPDX-License-Identifier: Apache-2.0
// The exact search of a scale against a dense scan of scales of both signs.
#include "format/blocks/fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace espalier::format {
namespace {

double error(const std::vector<float>& x, const std::vector<float>& weight, double d) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double q = d == 0 ? 0 : std::clamp(std::round(double(x[i]) / d), -1.0, 2.0);
    sum += double(weight[i]) * (double(x[i]) - d * q) * (double(x[i]) - d * q);
  }
  return sum;
}

TEST(FitScaleExactly, NoOtherScaleIsBetter) {
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
    if (seed % 7 == 4)  // ties, and magnitudes three times others
      for (float& v : x) v = std::round(2 * v) / 2;
    const double found =
        error(x, weight, fit_scale_exactly(x.data(), weight.data(), static_cast<int>(x.size())));
    for (int step = 1; step <= 4000; ++step)
      for (const double sign : {1.0, -1.0})
        ASSERT_LE(found, error(x, weight, sign * 2.2 * largest * step / 4000) * (1 + 1e-6)) << seed;
  }
}

TEST(FitScaleExactly, TheNetworkSorts) {
  core::Rng rng(1);
  std::vector<int> keys(128);
  for (int round = 0; round < 50; ++round) {
    for (int& key : keys) key = static_cast<int>(rng.below(90));
    std::sort(keys.begin(), keys.begin() + 64, std::greater<>());
    std::vector<int> half(keys.begin() + 64, keys.end()), expected = keys;
    const auto apply = [](const auto& network, std::vector<int>& of) {
      for (const Comparator c : network)
        if (of[c.first] < of[c.second]) std::swap(of[c.first], of[c.second]);
    };
    apply(kSortValues, half);
    EXPECT_TRUE(std::is_sorted(half.begin(), half.end(), std::greater<>()));
    std::copy(half.begin(), half.end(), keys.begin() + 64);
    apply(kMergeLevels, keys);
    std::sort(expected.begin(), expected.end(), std::greater<>());
    EXPECT_EQ(keys, expected);
  }
  EXPECT_EQ(kSortValues.size(), 543u);
}

TEST(FitScaleExactly, OddInputs) {
  const std::vector<float> weight(64, 1.0f), zero(64, 0.0f);
  EXPECT_EQ(fit_scale_exactly(zero.data(), weight.data(), 64), 0.0f);
  EXPECT_EQ(fit_scale_exactly(weight.data(), zero.data(), 64), 0.0f);
  std::vector<float> x(64, 1.5f);
  EXPECT_EQ(std::abs(fit_scale_exactly(x.data(), weight.data(), 64)), 1.5f);
  x[9] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(fit_scale_exactly(x.data(), weight.data(), 64), 0.0f);
  x[9] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isfinite(fit_scale_exactly(x.data(), weight.data(), 64)));
}

}  // namespace
}  // namespace espalier::format
