// SPDX-License-Identifier: Apache-2.0
// The learning rate: linear warm-up over warmup_ratio of the steps, then half a cosine down to
// final_ratio of the peak at the last step.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace espalier::distill {

// `step` counts from 0.
inline double learning_rate(std::int64_t step, std::int64_t steps, double peak, double warmup_ratio,
                            double final_ratio) {
  const auto warmup =
      static_cast<std::int64_t>(std::ceil(warmup_ratio * static_cast<double>(steps)));
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double progress = static_cast<double>(step - warmup) /
                          static_cast<double>(std::max<std::int64_t>(1, steps - 1 - warmup));
  return peak * (final_ratio + (1 - final_ratio) * 0.5 *
                                   (1 + std::cos(std::numbers::pi * std::min(1.0, progress))));
}

}  // namespace espalier::distill
