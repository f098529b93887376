// SPDX-License-Identifier: Apache-2.0
// The importance of every index of one axis in one layer: a pure function of statistics and
// weights. A criterion is one file in criteria/ and one line in criteria.inc.
#pragma once
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
};
// layer: all that the score needs is known when a pruning pass has reached the layer, so the layer
// is scored as its pruned predecessors feed it. model: everything is scored before a pass begins.
enum class Scope : std::uint8_t { layer, model };
struct Criterion {
  std::string_view name;
  std::string_view source;  // the paper
  StatisticNames needs;     // gradients follow from a backward statistic
  Scope scope;
  std::set<arch::Axis> axes;  // that it can score
  // Returns scores [size of axis]. layer is -1 for hidden. Larger scores are more important.
  std::vector<double> (*score)(const CriterionInput& input, arch::Axis axis, int layer);
};
std::span<const Criterion* const> all_criteria();
const Criterion& criterion_by_name(std::string_view name);  // Error(usage) lists the names

// Block influence, and the scores of `axes` as far as the criterion and the layers have them.
Scores score_model(const model::Transformer& dense, const torch::Tensor& windows,
                   const Criterion& criterion, const std::set<arch::Axis>& axes,
                   const layerwise::WalkOptions& options);

}  // namespace espalier::prune
