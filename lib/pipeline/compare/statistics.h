// SPDX-License-Identifier: Apache-2.0
// Intervals.
//
// The paired bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; for language
// models Koehn, EMNLP 2004): windows are drawn with replacement, the same ones for all models, and
// the difference is computed of each draw. The interval holds the middle 95 % of the draws.
#pragma once
#include <cstdint>
#include <vector>

namespace espalier::compare {

struct Interval {
  double low = 0, high = 0;
};

class Bootstrap {
 public:
  Bootstrap(std::size_t windows, std::int64_t resamples);
  // Of sum(sums) / sum(counts), over windows. Both have one value for each window.
  Interval of_mean(const std::vector<double>& sums, const std::vector<double>& counts) const;

 private:
  std::size_t windows_;
  std::vector<std::uint32_t> drawn_;  // [resamples, windows]
};

}  // namespace espalier::compare
