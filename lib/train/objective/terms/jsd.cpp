// SPDX-License-Identifier: Apache-2.0
// Jensen-Shannon divergence: (KL(p_T || m) + KL(p_S || m)) / 2 with m = (p_T + p_S) / 2. It is
// symmetric and at most ln 2. Agarwal et al. 2023, arXiv:2306.13649 (their generalised form with
// beta = 1/2).
#include <cmath>
#include <numbers>

#include "objective/term.h"

namespace espalier::objective {
namespace jsd {

torch::Tensor divergence(const TokenInput& x) {
  const torch::Tensor middle = torch::logaddexp(x.student, x.teacher) - std::numbers::ln2;
  return 0.5 *
         (x.teacher.exp() * (x.teacher - middle) + x.student.exp() * (x.student - middle)).sum(-1);
}

}  // namespace jsd

extern const Term k_jsd;
const Term k_jsd{.name = "jsd", .reads = Reads::logits, .of_tokens = jsd::divergence};

}  // namespace espalier::objective
