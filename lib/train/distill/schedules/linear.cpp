// SPDX-License-Identifier: Apache-2.0
// A straight line from the peak to the last rate. Bergsma et al. 2025, "Straight to Zero: Why
// Linearly Decaying the Learning Rate to Zero Works Best for LLMs", arXiv:2502.15938.
#include "distill/schedule.h"

namespace espalier::distill {
namespace linear {

double share(double progress, double final_ratio) { return 1 + (final_ratio - 1) * progress; }

}  // namespace linear

extern const Schedule k_linear;
const Schedule k_linear{"linear", linear::share};

}  // namespace espalier::distill
