// SPDX-License-Identifier: Apache-2.0
// How far the model is from itself while one of its blocks is cut, or is not there: the divergence
// KL(whole || other) of the next token in nats, mean over all positions of some windows. Unlike the
// growth of the cross-entropy it is never below 0, and it needs few tokens.
//
// One walk carries two streams for every block. Memory: 8 * tokens * H bytes for each of them.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "layerwise/visitor.h"

namespace espalier::prune {

struct BlockLoss {
  double cut = 0, gone = 0;
};

class BlockLosses {
 public:
  explicit BlockLosses(std::int64_t windows) : windows_(windows) {}  // the first of the walk

  // All windows of `stream` have gone through the block. `activations`: per batch, what its
  // consumer read. `consumer`: the matrix with which it counts as cut, 0 in the columns that go.
  void behind(const model::Transformer& model, int layer, const arch::Block& block,
              const layerwise::Stream& stream, const std::vector<torch::Tensor>& activations,
              const torch::Tensor& consumer);
  // Behind the last block, in the order of the blocks. Error(input) where one is not finite.
  std::vector<BlockLoss> of_blocks(const model::Transformer& model) const;

 private:
  std::int64_t windows_;
  torch::Tensor whole_;                 // [n, T, H], which the walk advances
  std::vector<torch::Tensor> streams_;  // of each block: cut, gone
};

}  // namespace espalier::prune
