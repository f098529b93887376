// SPDX-License-Identifier: Apache-2.0
// Draws and quantiles.
#include "compare/statistics.h"

#include <algorithm>

#include "core/rng.h"

namespace espalier::compare {
namespace {

// Between the two nearest values, as numpy.quantile does by default. `values` are sorted.
double quantile(const std::vector<double>& values, double q) {
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

}  // namespace

Bootstrap::Bootstrap(std::size_t windows, std::int64_t resamples) : windows_(windows) {
  core::Rng rng(0);
  drawn_.resize(static_cast<std::size_t>(resamples) * windows);
  for (std::uint32_t& window : drawn_) window = static_cast<std::uint32_t>(rng.below(windows));
}

Interval Bootstrap::of_mean(const std::vector<double>& sums,
                            const std::vector<double>& counts) const {
  std::vector<double> means;
  means.reserve(drawn_.size() / windows_);
  for (std::size_t at = 0; at < drawn_.size(); at += windows_) {
    double sum = 0, count = 0;
    for (std::size_t i = at; i < at + windows_; ++i) {
      sum += sums[drawn_[i]];
      count += counts[drawn_[i]];
    }
    means.push_back(sum / count);
  }
  std::sort(means.begin(), means.end());
  return {quantile(means, 0.025), quantile(means, 0.975)};
}

}  // namespace espalier::compare
