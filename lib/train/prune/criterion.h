// SPDX-License-Identifier: Apache-2.0
// The importance of every index of one axis in one layer, a pure function of statistics and
// weights, or the importance of whole layers. A criterion is one file in criteria/ and one line in
// criteria.inc.
#pragma once
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/arch.h"
#include "prune/scores.h"
#include "prune/statistics.h"

namespace espalier::prune {

struct CriterionInput {
  const model::Transformer& model;
  const Sums& sums;
  std::uint64_t seed = 0;  // for a criterion that draws
};
// What the importance of whole layers is computed from. Every pass over the model is the
// criterion's own.
struct LayersInput {
  const model::Transformer& model;
  const torch::Tensor& windows;  // [n, sequence]
  const layerwise::WalkOptions& walk;
  std::uint64_t seed = 0;
  std::int64_t drop = 0;  // how many layers or blocks will go; 0: not known
};
// Scores of the blocks of each kind, one for each layer; of a layer that lacks the block, 0.
using BlockScores = std::map<arch::BlockKind, std::vector<double>>;
// layer: all that the score needs is known when a pruning pass has reached the layer, so the layer
// is scored as its pruned predecessors feed it. model: everything is scored before a pass begins.
enum class Scope : std::uint8_t { layer, model };
struct Criterion {
  std::string_view name;
  std::string_view source;  // the paper
  StatisticNames needs;     // gradients follow from a backward statistic
  Scope scope;
  std::set<arch::Axis> axes;  // that it can score
  // Returns scores [size of axis]. layer is -1 for hidden. Larger scores are more important. null:
  // it scores whole layers alone.
  std::vector<double> (*score)(const CriterionInput& input, arch::Axis axis, int layer);
  // null: block influence decides which layers go.
  LayerScores (*layers)(const LayersInput& input) = nullptr;
  // The score is the error after all that stays is refitted, so cutting alone is not what it ranks.
  bool assumes_refit = false;
  BlockScores (*blocks)(const LayersInput& input) = nullptr;  // null: it does not score blocks
  // How often it computes losses without each of the layers (criteria/loss.h). null: never.
  std::int64_t (*rounds)(std::int64_t layers, std::int64_t drop) = nullptr;
  // hidden is cut along directions instead of channels: the model is turned first (rotation.h), and
  // `score` sees the turned one. No file can hold such scores.
  bool turns = false;
};
std::span<const Criterion* const> all_criteria();
const Criterion& criterion_by_name(std::string_view name);  // Error(usage) lists the names

// Block influence, and the scores of `axes` as far as the criterion and the layers have them.
Scores score_model(const model::Transformer& dense, const torch::Tensor& windows,
                   const Criterion& criterion, const std::set<arch::Axis>& axes,
                   const layerwise::WalkOptions& options, std::uint64_t seed = 0);
// Puts in their place the scores of the layers and the blocks by a criterion that has them.
void score_layers(const Criterion& criterion, const LayersInput& input, Scores& out);

}  // namespace espalier::prune
