// SPDX-License-Identifier: Apache-2.0
// KL(student || teacher) = sum_v p_S (log p_S - log p_T). The student is penalised for what the
// teacher would not say, and may omit what it cannot cover. Gu, Dong, Wei, Huang 2023,
// arXiv:2306.08543.
#include "distill/loss.h"

namespace espalier::distill {

static torch::Tensor divergence(const torch::Tensor& student_log,
                                const torch::Tensor& teacher_log) {
  return (student_log.exp() * (student_log - teacher_log)).sum(-1);
}

extern const Loss k_reverse_kl;
const Loss k_reverse_kl{"reverse_kl", divergence, false};

}  // namespace espalier::distill
