// SPDX-License-Identifier: Apache-2.0
// Perplexity of the model without one block, as its logarithm: how much the loss grows, in nats a
// token, when the attention or the FFN of one layer goes. Zhong et al. 2024 (BlockPruner), arXiv
// 2406.10594, in one shot.
#include "prune/criteria/loss.h"

namespace espalier::prune {
namespace block_perplexity {

std::int64_t rounds(std::int64_t, std::int64_t) { return 2; }  // of layers: half a pass each

BlockScores blocks(const LayersInput& input) {
  return by_kind(input.model, growth_of_the_loss(input, blocks_of(input.model)));
}

}  // namespace block_perplexity

extern const Criterion k_block_perplexity;
const Criterion k_block_perplexity{
    .name = "block_perplexity",
    .source = "growth of the loss without the block (BlockPruner, arXiv 2406.10594)",
    .needs = {},
    .scope = Scope::layer,
    .axes = {},
    .score = nullptr,
    .blocks = block_perplexity::blocks,
    .rounds = block_perplexity::rounds};

}  // namespace espalier::prune
