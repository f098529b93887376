// SPDX-License-Identifier: Apache-2.0
// Applies a PrunePlan to a checkpoint, tensor by tensor in bounded memory, and writes the smaller
// Hugging Face directory. The architecture table alone determines which rows and columns of which
// tensors survive.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "plan/prune_plan.h"

namespace espalier::surgery {

// Returns weights that replace the cut tensor, in its new shape (e.g. after least-squares
// compensation). Empty: keep the cut.
using Replacement = std::function<std::vector<float>(arch::Role role, int source_layer)>;

// The cut of one tensor in its new shape: rows x cols after the plan. source_layer -1: model scope.
std::vector<float> cut_tensor(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              arch::Role role, int source_layer);

// Writes the directory and plan.json. Returns the number of parameters written. Error(internal)
// when it differs from the prediction.
std::int64_t prune_checkpoint(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              const std::string& directory, const checkpoint::WriteOptions& options,
                              const Replacement& replacement, const core::Progress& progress);

}  // namespace espalier::surgery
