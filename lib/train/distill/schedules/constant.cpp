// SPDX-License-Identifier: Apache-2.0
// The peak until the end. It has no last rate, so final_learning_rate_ratio does nothing.
#include "distill/schedule.h"

namespace espalier::distill {
namespace constant {

double share(double, double) { return 1; }

}  // namespace constant

extern const Schedule k_constant;
const Schedule k_constant{"constant", constant::share, false};

}  // namespace espalier::distill
