// SPDX-License-Identifier: Apache-2.0
// What the criteria share: the consumer weights of an axis, and sums per head group.
#pragma once
#include <vector>

#include "prune/criterion.h"

namespace espalier::prune {

// The matrix whose columns the axis indexes: ffn_down for ffn, attn_output for kv_groups. [H,
// width]
const torch::Tensor& consumer(const CriterionInput& input, arch::Axis axis, int layer);
// Per-channel values [width] -> one value per index of the axis (kv_groups: the sum over the
// group's heads and head_dim).
std::vector<double> per_index(const CriterionInput& input, arch::Axis axis, int layer,
                              const torch::Tensor& per_channel);
// Sums over the vocabulary of squared embeddings, for the hidden axis.
torch::Tensor hidden_weight_squares(const CriterionInput& input);
const LayerStatistics& layer_statistics(const CriterionInput& input, int layer);
// Axes that criteria score; others are refused (internal).
[[noreturn]] void refuse_axis(arch::Axis axis);

}  // namespace espalier::prune
