// SPDX-License-Identifier: Apache-2.0
// Warm-up, stable, decay: the peak for the first four fifths, then down to the last rate as 1 -
// sqrt(x), where x is the share of the decay that is over. The form and the fifth are those of
// Haegele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations",
// arXiv:2405.18392.
#include <cmath>

#include "distill/schedule.h"

namespace espalier::distill {
namespace wsd {

double share(double progress, double final_ratio) {
  constexpr double kStable = 0.8;
  if (progress <= kStable) return 1;
  return final_ratio + (1 - final_ratio) * (1 - std::sqrt((progress - kStable) / (1 - kStable)));
}

}  // namespace wsd

extern const Schedule k_wsd;
const Schedule k_wsd{"wsd", wsd::share};

}  // namespace espalier::distill
