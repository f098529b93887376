// SPDX-License-Identifier: Apache-2.0
// The scores of all layers and axes of a model: what `score` or another program writes, and what
// sizes can be chosen from later (docs/criteria.md). The lowest go.
//
//   <axis>.<layer>  [size]  blocks that a layer lacks have no scores
//   hidden  [H]             where the criterion scores it
//   layers  [L]
//   layers.<n>  [L]         instead of layers where n of them go, 1 <= n < L
//   blocks.attention, blocks.ffn  [L]  whole blocks; of a layer that lacks one, any number
//
// All are F32. The metadata are "criterion", "tokens" and "source_sha256"; each may be absent in a
// file of another program.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "arch/arch.h"

namespace espalier::prune {

// Scores of the layers by the number of layers that go, where it matters. 0: for any number.
using LayerScores = std::map<std::int64_t, std::vector<double>>;

struct Scores {
  std::string criterion, source_sha256;  // empty: not known
  std::int64_t tokens = 0;
  std::map<std::string, std::vector<double>> all;  // by the names above

  // Error(input) when there are none.
  const std::vector<double>& at(const std::string& name) const;
  const std::vector<double>& of_layers(std::int64_t drop) const;  // where so many of them go
  bool has(arch::Axis axis) const;  // for some layer, or for the model
};
std::string scores_name(arch::Axis axis, int layer);  // "ffn.3"; layer -1: "hidden"
std::string layer_scores_name(std::int64_t drop);     // "layers"; "layers.6" where 6 layers go
std::string block_scores_name(arch::BlockKind kind);  // "blocks.attention"

void write_scores(const Scores& scores, const std::string& path);
// Error(input) for a file without scores, for scores that are not finite, and for names, types and
// sizes that are not those of a model with `dims`.
Scores read_scores(const std::string& path, const arch::ModelDims& dims);

// Error(input) for a score that is not finite.
void require_finite(const std::string& name, const std::vector<double>& scores);
// All indices. Among equal scores, the lower index first.
std::vector<std::int64_t> highest_first(const std::vector<double>& scores);
// The indices of the n highest scores, sorted. Among equal scores, the lower index.
std::vector<std::int64_t> keep_highest(const std::vector<double>& scores, std::int64_t n);
// What each layer keeps of an axis, in the order of the layers. Empty where it has no scores.
using KeptOfLayers = std::vector<std::vector<std::int64_t>>;
// The sizes[l] highest of layer l, or all where it has fewer.
KeptOfLayers keep_highest_per_layer(const Scores& scores, arch::Axis axis,
                                    const std::vector<std::int64_t>& sizes);

}  // namespace espalier::prune
