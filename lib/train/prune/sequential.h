// SPDX-License-Identifier: Apache-2.0
// The pruning pass proper: kept layers are cut one after the other, each seeing the outputs of its
// pruned predecessors, and the consumer weights (attn_output, ffn_down) are refitted by ridge
// regression so that the pruned stream follows the dense one:
//   W' = argmin  sum_t || d_t - u_t - W' a_t ||^2 / rms(d_t)^2 + lambda || W' - W_S ||^2
// a: kept channels, u: the residual stream before the block, d: the dense model's stream where the
// block ends. The norm that reads the stream divides by its RMS, hence the weight: without it the
// first position, whose RMS is a hundred times the others', would decide alone. A layer that
// precedes dropped layers is fitted to the dense stream after them, so it takes over what it can of
// their work. The matrices that read the stream (q, k, v, gate, up) are refitted as well, W' = W M,
// where M maps the pruned model's normed inputs to the dense model's by ridge regression. lambda is
// `ridge` of the mean diagonal of the Gram matrix. Layers may differ in size and lack a block:
// there the stream goes by. Memory: one layer of each model, both streams and one layer's inputs
// and activations of all calibration tokens: 4 * tokens * (7 H + F) bytes.
#pragma once
#include <map>
#include <utility>
#include <vector>

#include "core/progress.h"
#include "plan/prune_plan.h"
#include "prune/criterion.h"
#include "prune/pruner.h"

namespace espalier::prune {

class PassState;  // pass_state.h

struct SequentialInput {
  const model::Transformer& dense;
  const torch::Tensor& windows;  // [n, sequence]
  const Criterion& criterion;
  Compensation compensation;
  double ridge;
  std::vector<std::int64_t> keep_layers;
  plan::Selection hidden;
  std::vector<arch::LayerDims> sizes;  // of each kept layer, after; q_per_kv as the source has it,
                                       // an absent block stays absent
  PassState* state = nullptr;  // where the pass goes on from and keeps what it has done; null: it
                               // begins anew and keeps nothing
};
struct SequentialResult {
  std::vector<plan::LayerSelection> layers;  // one per kept layer
  std::map<std::pair<arch::Role, int>, torch::Tensor>
      replaced;  // (role, source layer) -> refitted weights in their new shape
};
// What is fitted to the calibration text closely is worse on every other: of 24,576 tokens 0.2 was
// best (0.01: 4 % worse in perplexity), of 65,536 tokens 0.05, on which the choice hangs less.
// Between the two the ridge is their geometric mean by the logarithm of the tokens, outside it
// stays.
double default_ridge(std::int64_t tokens);
SequentialResult prune_sequentially(const SequentialInput& input, const core::Progress& progress);

}  // namespace espalier::prune
