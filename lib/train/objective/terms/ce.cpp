// SPDX-License-Identifier: Apache-2.0
// Cross-entropy with the text: -log p_S of the token that comes next. It needs no teacher.
#include "objective/term.h"

namespace espalier::objective {
namespace ce {

torch::Tensor cross_entropy(const TokenInput& x) {
  return -x.student.gather(1, x.targets.unsqueeze(1)).squeeze(1);
}

}  // namespace ce

extern const Term k_ce;
const Term k_ce{.name = "ce",
                .reads = Reads::text,
                .fused = true,
                .cacheable = true,
                .of_tokens = ce::cross_entropy};

}  // namespace espalier::objective
