// SPDX-License-Identifier: Apache-2.0
// Activation statistics for pruning, collected in one streaming pass over calibration tokens. The
// pass goes layer by layer, so memory holds one layer's weights and the activations of the
// calibration windows.
#pragma once
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "data/corpus.h"
#include "model/transformer.h"
#include "prune/calibration_options.h"

namespace espalier::prune {

enum class Statistic : std::uint8_t {
  // Sum, sum of |x| and sum of squares per channel of hidden, ffn_act and attn_mix.
  channel_moments,
  ffn_gram,         // sum x x^T of ffn_act per layer
  attn_gram,        // sum x x^T of attn_mix per layer
  block_influence,  // 1 - mean cosine(layer_in, layer_out)
};

struct LayerStatistics {
  torch::Tensor ffn_abs, ffn_squares;    // [F] float64 sums over tokens
  torch::Tensor attn_abs, attn_squares;  // [N*D]
  // [F, F] and [N*D, N*D], float64. Undefined when not collected.
  torch::Tensor ffn_gram, attn_gram;
  double block_influence = 0;
};
struct Statistics {
  std::int64_t tokens = 0;
  std::vector<LayerStatistics> layers;
  torch::Tensor hidden_abs, hidden_squares;  // [H], summed over the normed inputs of all blocks
};

// Called when the statistics of a layer are complete, while its weights are in memory. The layer's
// second moments are freed afterwards.
using LayerDone =
    std::function<void(const model::Transformer& model, const Statistics& statistics, int layer)>;

Statistics collect(const model::Transformer& model, const torch::Tensor& windows,
                   const std::set<Statistic>& wanted, const core::Progress& progress,
                   const LayerDone& done = {});

}  // namespace espalier::prune
