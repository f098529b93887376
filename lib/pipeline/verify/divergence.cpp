// SPDX-License-Identifier: Apache-2.0
// Row-wise measures on log-probabilities.
#include "verify/divergence.h"

namespace espalier::verify {

Reference make_reference(const torch::Tensor& logits) {
  return {torch::log_softmax(logits, -1), logits.argmax(-1)};
}

Measured measure(const torch::Tensor& logits, const torch::Tensor& targets,
                 const Reference* reference) {
  Measured out;
  const torch::Tensor log_q = torch::log_softmax(logits, -1);
  const torch::Tensor nll =
      -log_q.gather(-1, targets.unsqueeze(-1)).squeeze(-1).to(torch::kFloat64).contiguous();
  out.nll.assign(nll.data_ptr<double>(), nll.data_ptr<double>() + nll.numel());
  if (reference != nullptr) {
    out.same_top1 = (logits.argmax(-1) == reference->top1).sum().item<std::int64_t>();
    const torch::Tensor kl =
        (reference->log_probabilities.exp() * (reference->log_probabilities - log_q))
            .sum(-1)
            .to(torch::kFloat32)
            .contiguous();
    out.kl.assign(kl.data_ptr<float>(), kl.data_ptr<float>() + kl.numel());
  }
  return out;
}

}  // namespace espalier::verify
