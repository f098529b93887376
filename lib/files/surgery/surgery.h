// SPDX-License-Identifier: Apache-2.0
// Applies a PrunePlan to a checkpoint, tensor by tensor in bounded memory, and writes the smaller
// Hugging Face directory. The architecture table alone determines which rows and columns of which
// tensors survive.
#pragma once
#include <concepts>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "plan/prune_plan.h"

namespace espalier::surgery {

// What replaces cut tensors, such as refitted weights.
struct Replacement {
  using Weights = std::function<std::vector<float>(arch::Role role, int source_layer)>;
  Replacement() = default;
  template <std::invocable<arch::Role, int> F>
  Replacement(F f) : weights(std::move(f)) {}

  // Returns values of the tensor in its new shape. Empty: keep the cut.
  Weights weights;
  // Changes rows of a tensor before they are written, those of `weights` too.
  using Adjust = std::function<void(arch::Role role, std::vector<float>& rows)>;
  Adjust adjust;
  // Biases that the new model has and the source may lack (ModelDims). Without values they are
  // zero.
  bool attention_bias = false, output_bias = false, mlp_bias = false;
};

// The cut of one tensor in its new shape: rows x cols after the plan. source_layer -1: model scope.
std::vector<float> cut_tensor(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              arch::Role role, int source_layer);

// Writes the directory and plan.json. Returns the number of parameters written. Error(internal)
// when it differs from the prediction.
std::int64_t prune_checkpoint(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan,
                              const std::string& directory, const checkpoint::WriteOptions& options,
                              const Replacement& replacement, const core::Progress& progress);

}  // namespace espalier::surgery
