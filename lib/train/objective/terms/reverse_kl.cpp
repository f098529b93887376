// SPDX-License-Identifier: Apache-2.0
// KL(student || teacher) = sum_v p_S (log p_S - log p_T). The student is penalised for what the
// teacher would not say, and may omit what it cannot cover. Gu, Dong, Wei, Huang 2023,
// arXiv:2306.08543.
#include "objective/term.h"

namespace espalier::objective {
namespace reverse_kl {

torch::Tensor divergence(const TokenInput& x) {
  return (x.student.exp() * (x.student - x.teacher)).sum(-1);
}

}  // namespace reverse_kl

extern const Term k_reverse_kl;
const Term k_reverse_kl{
    .name = "reverse_kl", .reads = Reads::logits, .of_tokens = reverse_kl::divergence};

}  // namespace espalier::objective
