// SPDX-License-Identifier: Apache-2.0
// A teacher's next-token distributions, each kept on its k likeliest tokens with the mass of all
// others as one event, "rest". Rows are tokens. Legend: n tokens, k kept, H hidden, V vocab.
#pragma once
#include <torch/types.h>

#include <cstdint>

#include "model/transformer.h"

namespace espalier::distill {

struct SparseLogits {
  torch::Tensor ids;  // int32 [n, k], ascending in every row
  torch::Tensor
      log_probabilities;  // float32 [n, k]: natural logarithm of softmax(logits / temperature)
  torch::Tensor rest;     // float32 [n]: mass of the tokens that are not in ids; with
                          // exp(log_probabilities) a row sums to 1
  bool defined() const { return ids.defined(); }
};

// Of the model's output on `hidden` [n, H] (after the final norm). The matrix of the vocabulary is
// read once, in blocks of rows, and need not be in memory; the mass of the rest is summed up
// itself, never got as a difference from 1. 1 <= k <= V. `batch`: tokens after which products begin
// anew, so that a result is the same bit by bit however many such batches come together.
SparseLogits top_logits(const model::Transformer& model, const torch::Tensor& hidden,
                        std::int64_t k, double temperature, std::int64_t batch);

}  // namespace espalier::distill
