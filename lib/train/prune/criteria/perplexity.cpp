// SPDX-License-Identifier: Apache-2.0
// Perplexity of the model without one layer, as its logarithm: how much the loss grows, in nats a
// token, when this layer alone goes. Kim et al. 2024 (Shortened LLaMA), arXiv 2402.02834.
#include "prune/criteria/loss.h"

namespace espalier::prune {
namespace perplexity {

std::int64_t rounds(std::int64_t, std::int64_t) { return 1; }

LayerScores layers(const LayersInput& input) {
  return {{0, growth_of_the_loss(input, layers_of(input.model))}};
}

}  // namespace perplexity

extern const Criterion k_perplexity;
const Criterion k_perplexity{.name = "perplexity",
                             .source = "growth of the loss without the layer (arXiv 2402.02834)",
                             .needs = {},
                             .scope = Scope::layer,
                             .axes = {},
                             .score = nullptr,
                             .layers = perplexity::layers,
                             .rounds = perplexity::rounds};

}  // namespace espalier::prune
