// SPDX-License-Identifier: Apache-2.0
// How the time of a call grows with its input: what distinguishes linear from quadratic work on any
// machine, in any build.
#pragma once
#include <algorithm>
#include <ctime>
#include <string>
#include <string_view>

namespace espalier::support {

// Runs with inputs this much longer take about this much longer where work is linear.
inline constexpr double kGrowth = 8;
// Quadratic work takes kGrowth^2 = 64 times as long.
inline constexpr double kLinear = 3 * kGrowth;

// Processor time of `run(large)` over that of `run(small)`, whose input is kGrowth times shorter. A
// busy machine does not stretch processor time much; of several attempts the best of each counts.
template <typename Run>
double growth(Run&& run, const auto& small, const auto& large) {
  const auto seconds = [&run](const auto& input) {
    const std::clock_t start = std::clock();
    run(input);
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  };
  // A call too short for the clock counts as this long.
  constexpr double kShortest = 1e-4;
  double best_small = 1e9, best_large = 1e9;
  for (int attempt = 0; attempt < 5; ++attempt) {
    best_small = std::min(best_small, std::max(seconds(small), kShortest));
    best_large = std::min(best_large, seconds(large));
    if (best_large < kLinear * best_small) break;
  }
  return best_large / best_small;
}

// At least so many bytes of one unit.
inline std::string repeated(std::string_view unit, std::size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += unit;
  return out;
}

}  // namespace espalier::support
