// SPDX-License-Identifier: Apache-2.0
// Code that the criteria share: the consumer weights of an axis, and sums per head group.
#pragma once
#include <vector>

#include "prune/criterion.h"

namespace espalier::prune {

// The matrix [H, width] whose columns the axis indexes: ffn_down for ffn, attn_output for
// kv_groups.
const torch::Tensor& consumer(const CriterionInput& input, arch::Axis axis, int layer);
// Per-channel values [width] -> one value per index of the axis. For kv_groups it is the sum over
// the group's heads and head_dim.
std::vector<double> per_index(const CriterionInput& input, arch::Axis axis, int layer,
                              const torch::Tensor& per_channel);
// Sums of squared embeddings over the vocabulary, for the hidden axis.
torch::Tensor hidden_weight_squares(const CriterionInput& input);

}  // namespace espalier::prune
