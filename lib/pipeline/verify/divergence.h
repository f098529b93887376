// SPDX-License-Identifier: Apache-2.0
// KL divergence, top-1 agreement and negative log-likelihood of rows of logits. Internal to
// lib/pipeline/verify.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace espalier::verify {

// Rows of logits that are compared at a time: at most 512, because more gain no speed, and at most
// 128 MiB. About four times that much is in memory.
std::int64_t rows_at_once(std::int64_t vocab);

// The rows of a reference model as log-probabilities.
struct Reference {
  torch::Tensor log_probabilities;  // [n, V]
  torch::Tensor top1;               // int64 [n]
};
Reference make_reference(const torch::Tensor& logits);

struct Measured {
  std::vector<double> nll;  // per row
  std::vector<float> kl;    // per row: KL(reference || model), nats; empty without a reference
  std::int64_t same_top1 = 0;
};
// The reference itself on targets int64 [n].
Measured measure(const Reference& reference, const torch::Tensor& targets);
// Compares logits [n, V] of a model with targets int64 [n] and the reference, which may be null.
Measured measure(const torch::Tensor& logits, const torch::Tensor& targets,
                 const Reference* reference);

}  // namespace espalier::verify
