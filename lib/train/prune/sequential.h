// SPDX-License-Identifier: Apache-2.0
// The pruning pass. Kept layers are cut one after the other, and the pruned model follows the dense
// one (layerwise/follow.h). A criterion scores the channels of each block from what its pruned
// predecessors feed it. Layers may differ in size and lack a block.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "layerwise/walk.h"
#include "plan/prune_plan.h"
#include "prune/criterion.h"
#include "prune/pruner.h"

namespace espalier::prune {

struct SequentialInput {
  const model::Transformer& dense;
  const torch::Tensor& windows;  // [n, sequence]
  const Criterion& criterion;
  Compensation compensation;
  std::optional<double> ridge;  // empty: each fit chooses its own
  std::vector<std::int64_t> keep_layers;
  plan::Selection hidden;
  // The sizes of each kept layer after the cut. q_per_kv is that of the source. An absent block
  // stays absent, and one of size 0 goes.
  std::vector<arch::LayerDims> sizes;
  // Not empty: what each kept layer keeps, instead of what `criterion` would choose. `sizes` are
  // those of the source then.
  std::vector<plan::LayerSelection> given = {};
  std::set<arch::Role> biases = {};  // of consumers, that compensation may set
  double gain_factor = 1;            // layerwise/follow.h
  layerwise::WalkOptions walk = {};
  std::vector<layerwise::Visitor*> watchers = {};  // of the same walk
  std::int64_t judged = 0;                         // the last windows, which nothing is fitted to
};
struct SequentialResult {
  std::vector<plan::LayerSelection> layers;  // one per kept layer
  // (role, source layer) -> refitted weights in their new shape.
  std::map<std::pair<arch::Role, int>, torch::Tensor> replaced;
  // Of each refitted consumer, and of a block's first reader, in the order of the kept layers.
  std::map<arch::Role, std::vector<double>> ridges;
  torch::Tensor judged;  // the pruned stream of those windows behind the last layer, [n, T, H]
};
SequentialResult prune_sequentially(const SequentialInput& input);

}  // namespace espalier::prune
