// SPDX-License-Identifier: Apache-2.0
// Greedy perplexity: the layer without which the perplexity is lowest goes, and the others are
// judged again without it, until as many are gone as are to go. The score is the round in which a
// layer goes; those that stay have the next number. Where it is not known how many go, all but one
// do. Song et al. 2024 (SLEB), arXiv 2402.09025.
#include <algorithm>

#include "prune/criteria/loss.h"

namespace espalier::prune {
namespace perplexity_greedy {

std::int64_t rounds(std::int64_t layers, std::int64_t drop) {
  return drop > 0 ? std::min(drop, layers - 1) : layers - 1;
}

LayerScores layers(const LayersInput& input) {
  return {{0, greedy_rounds(input, layers_of(input.model),
                            rounds(input.model.dims().n_layers(), input.drop))}};
}

}  // namespace perplexity_greedy

extern const Criterion k_perplexity_greedy;
const Criterion k_perplexity_greedy{
    .name = "perplexity_greedy",
    .source = "perplexity without the layer, one after the other (SLEB, arXiv 2402.09025)",
    .needs = {},
    .scope = Scope::layer,
    .axes = {},
    .score = nullptr,
    .layers = perplexity_greedy::layers,
    .rounds = perplexity_greedy::rounds};

}  // namespace espalier::prune
