// SPDX-License-Identifier: Apache-2.0
// Skew reverse KL: KL(p_S || m) with m = (1 - a) p_T + a p_S, a = skew_alpha. Like reverse_kl, but
// bounded: its values stay below -log a where the teacher finds nearly impossible what the student
// says. Ko, Kim, Chen, Yun 2024, "DistiLLM: Towards Streamlined Distillation for Large Language
// Models", arXiv:2402.03898.
#include <cmath>

#include "objective/terms/skew.h"

namespace espalier::objective {
namespace skew_reverse_kl {

torch::Tensor divergence(const TokenInput& x) {
  const double alpha = x.options.number(kSkewAlpha);
  const torch::Tensor mixture =
      torch::logaddexp(x.teacher + std::log1p(-alpha), x.student + std::log(alpha));
  return (x.student.exp() * (x.student - mixture)).sum(-1);
}

}  // namespace skew_reverse_kl

extern const Term k_skew_reverse_kl;
const Term k_skew_reverse_kl{.name = "skew_reverse_kl",
                             .reads = Reads::logits,
                             .describe = describe_skew,
                             .of_tokens = skew_reverse_kl::divergence};

}  // namespace espalier::objective
