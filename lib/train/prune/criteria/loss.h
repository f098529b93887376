// SPDX-License-Identifier: Apache-2.0
// The loss of a model without one of its parts: the cross-entropy in nats, mean over the
// predictions of tokens 1 .. T-1 of every window. Perplexity is its exponential. A part is a whole
// layer, or one block of it.
//
// One pass through the model carries a stream for every part left out, so a layer is read once.
// Memory: 4 * tokens * H bytes for each of them. Time: n parts take n / 2 plain passes, and n + 1
// products with the output matrix.
#pragma once
#include <vector>

#include "prune/criterion.h"

namespace espalier::prune {

inline constexpr std::int64_t kLossTokens = 256;  // whose logits exist at a time

struct Part {
  int layer;
  const arch::Block* block = nullptr;  // null: the whole layer
};
// In the order in which a token goes through them.
std::vector<Part> layers_of(const model::Transformer& model);
std::vector<Part> blocks_of(const model::Transformer& model);
// Scores of blocks_of() as they are kept.
BlockScores by_kind(const model::Transformer& model, const std::vector<double>& of_blocks);

// Of ids [n, T] whose stream behind the last layer is `states` [n, T, H].
double loss_of(const model::Transformer& model, const torch::Tensor& ids,
               const torch::Tensor& states);

struct Losses {
  double whole = 0;             // of the model that has the parts `kept` alone
  std::vector<double> without;  // and of that model without the i-th of them
};
// Error(input) where the model itself has no finite loss.
Losses losses_without_each(const LayersInput& input, const std::vector<Part>& kept);
// How much the loss grows without each part.
std::vector<double> growth_of_the_loss(const LayersInput& input, const std::vector<Part>& parts);
// The part without which the loss is smallest goes, and the others are judged again without it. The
// round in which a part goes; of those that stay, the number of rounds.
std::vector<double> greedy_rounds(const LayersInput& input, const std::vector<Part>& parts,
                                  std::int64_t rounds);

}  // namespace espalier::prune
