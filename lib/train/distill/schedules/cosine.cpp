// SPDX-License-Identifier: Apache-2.0
// Half a cosine from the peak to the last rate. Loshchilov, Hutter 2016, arXiv:1608.03983, without
// restarts.
#include <cmath>
#include <numbers>

#include "distill/schedule.h"

namespace espalier::distill {
namespace cosine {

double share(double progress, double final_ratio) {
  return final_ratio + (1 - final_ratio) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace cosine

extern const Schedule k_cosine;
const Schedule k_cosine{"cosine", cosine::share};

}  // namespace espalier::distill
