// SPDX-License-Identifier: Apache-2.0
// What to keep: sorted indices per axis and layer, the sizes that follow, and the predicted
// parameters. plan.json is reviewable text:
//   {"source_sha256", "parameters_before", "parameters_after", "keep_layers": [..], "layers": [{"ffn": [..]|"all", "kv_groups": ..,
//    "q_per_kv": ..}] (one entry per kept layer), "hidden": [..]|"all", "vocab": [..]|"all"}; runs are written as "a-b".
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/arch.h"

namespace espalier::plan {

// Sorted kept indices of one axis; nullopt = all.
using Selection = std::optional<std::vector<std::int64_t>>;

struct LayerSelection {
  Selection kv_groups = {}, q_per_kv = {}, ffn = {};
};

struct PrunePlan {
  std::vector<std::int64_t> keep_layers = {};  // indices of source layers, sorted
  std::vector<LayerSelection> layers = {};     // one per kept layer
  Selection hidden = {}, vocab = {};
  std::string source_sha256 = {};  // empty: fits any source of the right sizes
};

PrunePlan keep_all(const arch::ModelDims& dims);
// Error(input) naming the first index out of range, unsorted or empty selection.
void validate(const PrunePlan& plan, const arch::ModelDims& before, const std::string& where);
arch::ModelDims dims_after(const PrunePlan& plan, const arch::ModelDims& before);
PrunePlan combine(const PrunePlan& first,
                  const PrunePlan& second);  // second applied to the result of first
std::string to_json(const PrunePlan& plan, const arch::Arch& arch, const arch::ModelDims& before);
PrunePlan prune_plan_from_json(const std::string& text, const arch::ModelDims& before,
                               const std::string& where);

// Target sizes as the command line gives them; absent = unchanged. `parameters`: choose ffn (then
// layers) to stay at or below it, granule-aligned.
struct PruneTarget {
  std::optional<std::int64_t> layers = {}, hidden = {}, ffn = {}, kv_groups = {}, q_per_kv = {},
                              vocab = {}, parameters = {};
  std::int64_t ffn_granule = 32, hidden_granule = 32;
};
// Sizes that meet the target: in every layer what is asked for, or what it has where that is less
// (nothing, where the block is absent). Which layers stay is decided by scores: the first so many
// stand for them. Error(unsupported) naming the nearest legal size when a size is not a multiple of
// its granule, or when parameters cannot be promised; Error(usage) when a size is larger than that
// of any layer of the source.
arch::ModelDims resolve(const PruneTarget& target, const arch::Arch& arch,
                        const arch::ModelDims& before);
// The sizes that every layer of the source gets, whichever of them stay; `after`: what resolve()
// gave.
std::vector<arch::LayerDims> resolve_layers(const PruneTarget& target, const arch::Arch& arch,
                                            const arch::ModelDims& before,
                                            const arch::ModelDims& after);
// For people: which layers have less than the target asks for, and keep it. Empty where all layers
// have one size.
std::vector<std::string> smaller_layers(const PruneTarget& target, const arch::ModelDims& before);

}  // namespace espalier::plan
