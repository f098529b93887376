// SPDX-License-Identifier: Apache-2.0
// A teacher's next-token distributions. Each keeps its k likeliest tokens, and the mass of all
// others as one event, "rest". Rows are tokens. Legend: n tokens, k kept, H hidden, V vocab.
#pragma once
#include <torch/types.h>

#include <cstdint>

#include "model/transformer.h"

namespace espalier::objective {

struct SparseLogits {
  torch::Tensor ids;  // int32 [n, k], ascending in every row
  // float32 [n, k]: natural logarithm of softmax(logits / temperature).
  torch::Tensor log_probabilities;
  // float32 [n]: mass of the tokens that are not in ids. exp(log_probabilities) and rest of a row
  // sum to 1.
  torch::Tensor rest;
  bool defined() const { return ids.defined(); }
};

// The distributions of the model's output on `hidden` [n, H] (after the final norm). 1 <= k <= V.
// The matrix of the vocabulary is read once, in blocks of rows, and need not be in memory. The mass
// of the rest is summed directly, never computed as a difference from 1.
//
// Products begin anew after every `batch` tokens. So a result has the same bits however many
// batches one call handles.
SparseLogits top_logits(const model::Transformer& model, const torch::Tensor& hidden,
                        std::int64_t k, double temperature, std::int64_t batch);

}  // namespace espalier::objective
