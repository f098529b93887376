// SPDX-License-Identifier: Apache-2.0
// Applies a PrunePlan to a checkpoint, tensor by tensor (bounded memory), and writes the smaller
// Hugging Face directory. Which rows and columns of which tensors survive follows from the
// architecture table alone.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "plan/prune_plan.h"

namespace espalier::surgery {

// Weights that replace the cut tensor (already in its new shape), e.g. after least-squares
// compensation. Return empty to keep the cut.
using Replacement = std::function<std::vector<float>(arch::Role role, int source_layer)>;

// Cut of one tensor in its new shape: rows x cols after the plan. source_layer -1 for model scope.
std::vector<float> cut_tensor(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              arch::Role role, int source_layer);

// Writes directory + plan.json. Returns the parameters counted in what was written (must equal the
// prediction; Error(internal) if not).
std::int64_t prune_checkpoint(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              const std::string& directory, const checkpoint::WriteOptions& options,
                              const Replacement& replacement, const core::Progress& progress);

}  // namespace espalier::surgery
