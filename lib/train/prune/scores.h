// SPDX-License-Identifier: Apache-2.0
// The scores of all layers and axes of a model: what `score` writes, and what sizes can be chosen
// from later.
//
//   <axis>.<layer>  [size]  blocks that a layer lacks have no scores
//   hidden  [H]             where the criterion scores it
//   layers  [L]             block influence
//
// All are F32. The metadata are "criterion", "tokens" and "source_sha256".
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "arch/arch.h"

namespace espalier::prune {

struct Scores {
  std::string criterion, source_sha256;  // empty: not known
  std::int64_t tokens = 0;
  std::map<std::string, std::vector<double>> all;  // by the names above

  // Error(input) when there are none.
  const std::vector<double>& at(const std::string& name) const;
  bool has(arch::Axis axis) const;  // for some layer, or for the model
};
std::string scores_name(arch::Axis axis, int layer);  // "ffn.3"; layer -1: "hidden"

void write_scores(const Scores& scores, const std::string& path);
// Error(input) for scores that are not finite, or of other sizes than a model with `dims` has.
Scores read_scores(const std::string& path, const arch::ModelDims& dims);

// Error(input) for a score that is not finite.
void require_finite(const std::string& name, const std::vector<double>& scores);
// The indices of the n highest scores, sorted. Among equal scores, the lower index.
std::vector<std::int64_t> keep_highest(const std::vector<double>& scores, std::int64_t n);
// What each layer keeps of an axis, in the order of the layers. Empty where it has no scores.
using KeptOfLayers = std::vector<std::vector<std::int64_t>>;
// The sizes[l] highest of layer l, or all where it has fewer.
KeptOfLayers keep_highest_per_layer(const Scores& scores, arch::Axis axis,
                                    const std::vector<std::int64_t>& sizes);
// The `total` highest of all `layers` together, but at least one of each layer that has scores.
// Among equal scores, the lower layer, then the lower index.
KeptOfLayers keep_highest_across_layers(const Scores& scores, arch::Axis axis, std::size_t layers,
                                        std::int64_t total);

}  // namespace espalier::prune
