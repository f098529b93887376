// SPDX-License-Identifier: Apache-2.0
// Row-wise measures on log-probabilities.
#include "verify/divergence.h"

#include <algorithm>

namespace espalier::verify {
namespace {

std::vector<double> nll_of(const torch::Tensor& log_q, const torch::Tensor& targets) {
  const torch::Tensor nll =
      -log_q.gather(-1, targets.unsqueeze(-1)).squeeze(-1).to(torch::kFloat64).contiguous();
  return {nll.data_ptr<double>(), nll.data_ptr<double>() + nll.numel()};
}

}  // namespace

std::int64_t rows_at_once(std::int64_t vocab) {
  return std::clamp<std::int64_t>((std::int64_t{128} << 20) / (4 * vocab), 1, 512);
}

Reference make_reference(const torch::Tensor& logits) {
  return {torch::log_softmax(logits, -1), logits.argmax(-1)};
}

Measured measure(const Reference& reference, const torch::Tensor& targets) {
  return {.nll = nll_of(reference.log_probabilities, targets), .kl = {}};
}

Measured measure(const torch::Tensor& logits, const torch::Tensor& targets,
                 const Reference* reference) {
  Measured out;
  const torch::Tensor log_q = torch::log_softmax(logits, -1);
  out.nll = nll_of(log_q, targets);
  if (reference != nullptr) {
    const torch::Tensor& log_p = reference->log_probabilities;
    out.same_top1 = (logits.argmax(-1) == reference->top1).sum().item<std::int64_t>();
    // In place: each of these is as large as the logits.
    const torch::Tensor kl =
        log_p.exp().mul_(log_p - log_q).sum(-1).to(torch::kFloat32).contiguous();
    out.kl.assign(kl.data_ptr<float>(), kl.data_ptr<float>() + kl.numel());
  }
  return out;
}

}  // namespace espalier::verify
