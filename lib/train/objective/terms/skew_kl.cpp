// SPDX-License-Identifier: Apache-2.0
// Skew KL: KL(p_T || m) with m = a p_T + (1 - a) p_S, a = skew_alpha. The mixture keeps the
// gradient bounded where the student finds nearly impossible what the teacher says. a = 0 is
// forward_kl. Ko, Kim, Chen, Yun 2024, "DistiLLM: Towards Streamlined Distillation for Large
// Language Models", arXiv:2402.03898.
#include <cmath>

#include "objective/terms/skew.h"

namespace espalier::objective {
namespace skew_kl {

torch::Tensor divergence(const TokenInput& x) {
  const double alpha = x.options.number(kSkewAlpha);
  const torch::Tensor mixture =
      torch::logaddexp(x.teacher + std::log(alpha), x.student + std::log1p(-alpha));
  return (x.teacher.exp() * (x.teacher - mixture)).sum(-1);
}

}  // namespace skew_kl

extern const Term k_skew_kl;
const Term k_skew_kl{.name = "skew_kl",
                     .reads = Reads::logits,
                     .describe = describe_skew,
                     .of_tokens = skew_kl::divergence};

}  // namespace espalier::objective
