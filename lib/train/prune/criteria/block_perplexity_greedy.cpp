// SPDX-License-Identifier: Apache-2.0
// Greedy perplexity over blocks: the attention or the FFN without which the perplexity is lowest
// goes, and the others are judged again without it, until as many are gone as are to go. The score
// is the round in which a block goes; those that stay have the next number. Where it is not known
// how many go, all but one do. Zhong et al. 2024 (BlockPruner), arXiv 2406.10594.
#include <algorithm>

#include "prune/criteria/loss.h"

namespace espalier::prune {
namespace block_perplexity_greedy {

// Of layers, which have two blocks and half as many in a pass.
std::int64_t rounds(std::int64_t layers, std::int64_t drop) {
  return 2 * (drop > 0 ? drop : 2 * layers - 1);
}

BlockScores blocks(const LayersInput& input) {
  const std::vector<Part> parts = blocks_of(input.model);
  const auto most = static_cast<std::int64_t>(parts.size()) - 1;
  return by_kind(input.model,
                 greedy_rounds(input, parts, input.drop > 0 ? std::min(input.drop, most) : most));
}

}  // namespace block_perplexity_greedy

extern const Criterion k_block_perplexity_greedy;
const Criterion k_block_perplexity_greedy{
    .name = "block_perplexity_greedy",
    .source = "perplexity without the block, one after the other (BlockPruner, arXiv 2406.10594)",
    .needs = {},
    .scope = Scope::layer,
    .axes = {},
    .score = nullptr,
    .blocks = block_perplexity_greedy::blocks,
    .rounds = block_perplexity_greedy::rounds};

}  // namespace espalier::prune
