// SPDX-License-Identifier: Apache-2.0
// Jensen-Shannon divergence: (KL(p_T || m) + KL(p_S || m)) / 2 with m = (p_T + p_S) / 2. It is
// symmetric and at most ln 2. Agarwal et al. 2023, arXiv:2306.13649 (their generalised form with
// beta = 1/2).
#include <cmath>
#include <numbers>

#include "distill/loss.h"

namespace espalier::distill {

static torch::Tensor divergence(const torch::Tensor& student_log,
                                const torch::Tensor& teacher_log) {
  const torch::Tensor middle_log = torch::logaddexp(student_log, teacher_log) - std::numbers::ln2;
  return 0.5 * (teacher_log.exp() * (teacher_log - middle_log) +
                student_log.exp() * (student_log - middle_log))
                   .sum(-1);
}

extern const Loss k_jsd;
const Loss k_jsd{"jsd", divergence, false};

}  // namespace espalier::distill
