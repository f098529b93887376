// SPDX-License-Identifier: Apache-2.0
// KL(teacher || student) = sum_v p_T (log p_T - log p_S). The student must cover everything that
// the teacher finds likely. Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
#include "objective/term.h"

namespace espalier::objective {
namespace forward_kl {

torch::Tensor divergence(const TokenInput& x) {
  return (x.teacher.exp() * (x.teacher - x.student)).sum(-1);
}

}  // namespace forward_kl

extern const Term k_forward_kl;
const Term k_forward_kl{.name = "forward_kl",
                        .reads = Reads::logits,
                        .fused = true,
                        .cacheable = true,
                        .of_tokens = forward_kl::divergence};

}  // namespace espalier::objective
