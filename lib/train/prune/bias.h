// SPDX-License-Identifier: Apache-2.0
// Which biases a model gets where compensation is a bias: those of the consumers of blocks that are
// cut. An et al. 2023, "Fluctuation-based Adaptive Structured Pruning for Large Language Models"
// (FLAP), arXiv 2312.11983: what the cut channels add in the mean becomes a bias,
//
//   b = mean over tokens of  d_t - u_t - W_S a_t
//
// d: exact stream after the block, u: pruned stream before it, a: channels that stay, W_S: their
// columns. Where both streams are equal, that is W_cut times the mean of the cut channels. Tokens
// weigh as in least squares (layerwise/follow.h).
#pragma once
#include <set>
#include <vector>

#include "arch/arch.h"

namespace espalier::prune {

struct LayerCut {
  arch::LayerDims before, after;
};
// Sets the biases in `after` and returns the roles that may be filled, where these layers are cut.
// A cut stream needs those of all blocks, and layers that go need that of a layer's last block.
// Error(unsupported) for a family that cannot hold one.
std::set<arch::Role> add_biases(const arch::Arch& arch, const std::vector<LayerCut>& cuts,
                                const arch::ModelDims& before, arch::ModelDims& after);

}  // namespace espalier::prune
