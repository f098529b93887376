// SPDX-License-Identifier: Apache-2.0
// KL(teacher || student) = sum_v p_T (log p_T - log p_S). The student must cover everything that
// the teacher finds likely. Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
#include "distill/loss.h"

namespace espalier::distill {

static torch::Tensor divergence(const torch::Tensor& student_log,
                                const torch::Tensor& teacher_log) {
  return (teacher_log.exp() * (teacher_log - student_log)).sum(-1);
}

extern const Loss k_forward_kl;
const Loss k_forward_kl{"forward_kl", divergence, true, true};

}  // namespace espalier::distill
