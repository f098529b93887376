// SPDX-License-Identifier: Apache-2.0
// Code that the criteria share: the consumer weights of an axis, and sums per head group.
#pragma once
#include <functional>
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
// Sums of what a function gives for each weight that reads or writes an index of the stream:
// rows and columns of all matrices of the model, which are read once more, in blocks of rows. Gains
// of norms and biases are left out.
std::vector<double> over_stream(const CriterionInput& input,
                                const std::function<torch::Tensor(const torch::Tensor&)>& of);
// Sums of `of_weights`, a value for each weight of a matrix or vector of the layer, over everything
// that is coupled to an index of the axis: what goes with it when it is cut.
std::vector<double> over_coupled(const CriterionInput& input, arch::Axis axis, int layer,
                                 const std::function<torch::Tensor(arch::Role)>& of_weights);

}  // namespace espalier::prune
