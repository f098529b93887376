// SPDX-License-Identifier: Apache-2.0
// What was asked of a pruning, before any text is read: its checks, and what they leave to scores.
#pragma once
#include <optional>
#include <set>

#include "plan/layer_sizes.h"
#include "prune/bias.h"
#include "prune/criterion.h"
#include "prune/pruner.h"

namespace espalier::prune {

// What is left to choose within a total by a text. Nothing where no total is given, where scores of
// a file decide alone, and beside --per-layer where readers know one size.
std::optional<plan::SizeQuestion> open_sizes(const PruneOptions& options, const arch::Arch& arch,
                                             const arch::ModelDims& before);
// Predicted sizes with as many layers as are known to stay before sizes are chosen.
arch::ModelDims settled(const PruneOptions& options, const arch::ModelDims& before,
                        arch::ModelDims after);
// What a file decides, which has to be of this model. Nothing without one, or where sizes are yet
// to be chosen by its scores.
std::optional<plan::PrunePlan> plan_for(const checkpoint::Checkpoint& source,
                                        const PruneOptions& options, const arch::ModelDims& after);
// Whose scores of layers decide; null: block influence.
const Criterion* layer_criterion(const PruneOptions& options);
// The biases that compensation sets; `after` gets them.
std::set<arch::Role> biases_of(const PruneOptions& options, const arch::Arch& arch,
                               const arch::ModelDims& before, arch::ModelDims& after);

}  // namespace espalier::prune
