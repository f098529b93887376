// SPDX-License-Identifier: Apache-2.0
// From scores to what stays.
#pragma once
#include <cstdint>
#include <vector>

#include "plan/prune_plan.h"
#include "prune/scores.h"

namespace espalier::prune {

// The layers and the stream's indices that stay, and with `blocks` also what stays in each layer:
// sizes[l] of layer l.
plan::PrunePlan choose(const Scores& scores, const arch::ModelDims& before,
                       const arch::ModelDims& after, const std::vector<arch::LayerDims>& sizes,
                       bool blocks);

struct PresentBlock {
  std::size_t layer;
  const arch::Block* block;
};
std::vector<PresentBlock> present_blocks(const arch::Arch& arch, const arch::ModelDims& dims);
// `keep` attention and FFN blocks of all layers stay. A layer without any goes as a whole.
plan::PrunePlan choose_blocks(const Scores& scores, const arch::Arch& arch,
                              const arch::ModelDims& before, std::int64_t keep);
// The most that so many blocks can be: those with the most parameters stay. For predictions.
plan::PrunePlan largest_blocks(const arch::Arch& arch, const arch::ModelDims& before,
                               std::int64_t keep);

}  // namespace espalier::prune
