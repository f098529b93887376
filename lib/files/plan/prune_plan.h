// SPDX-License-Identifier: Apache-2.0
// What pruning keeps: sorted indices per axis and layer, the resulting sizes, and the predicted
// parameters. plan.json is text for review:
//
//   {"source_sha256", "parameters_before", "parameters_after", "keep_layers": [..],
//    "layers": [{"ffn": [..]|"all", "kv_groups": .., "q_per_kv": ..}],   one entry per kept layer
//    "hidden": [..]|"all", "vocab": [..]|"all"}
//
// "basis" names a criterion that turned the stream first: the indices of hidden are directions
// then. Runs of indices are written as "a-b".
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/arch.h"

namespace espalier::plan {

// Sorted kept indices of one axis. nullopt: all.
using Selection = std::optional<std::vector<std::int64_t>>;

using LayerSelection = arch::PerAxis<Selection>;

struct PrunePlan {
  std::vector<std::int64_t> keep_layers = {};  // indices of source layers, sorted
  std::vector<LayerSelection> layers = {};     // one per kept layer
  Selection hidden = {}, vocab = {};
  std::string source_sha256 = {};  // empty: fits any source of the right sizes
  std::string basis = {};          // not empty: `hidden` has directions of a turned stream
};

PrunePlan keep_all(const arch::ModelDims& dims);
// Error(input) naming the first index that is out of range, or the first unsorted or empty
// selection.
void validate(const PrunePlan& plan, const arch::ModelDims& before, const std::string& where);
arch::ModelDims dims_after(const PrunePlan& plan, const arch::ModelDims& before);
std::string to_json(const PrunePlan& plan, const arch::Arch& arch, const arch::ModelDims& before);
PrunePlan prune_plan_from_json(const std::string& text, const arch::ModelDims& before,
                               const std::string& where);

// Error(input) when the plan says which model it was made for and `sha256` is another's.
void require_source(const PrunePlan& plan, const std::string& source, const std::string& sha256,
                    const std::string& where);

// Error(input) where the hidden indices of the plan are not channels of the source, for it does not
// hold the directions.
void require_channels(const PrunePlan& plan, const std::string& where);

// Target sizes as the command line gives them. Absent: unchanged. `parameters` is an upper limit:
// the sizes that are absent are chosen within it (layer_sizes.h).
struct PruneTarget {
  std::optional<std::int64_t> layers = {}, hidden = {}, vocab = {}, parameters = {};
  arch::PerAxis<std::optional<std::int64_t>> sizes = {};
  std::int64_t ffn_granule = 32, hidden_granule = 32;
};
// Of the command line: "--kv-groups", and what it says about itself.
std::string size_flag(arch::Axis axis);
std::string_view size_help(arch::Axis axis);
// The sizes that meet the target. Every layer gets the requested size, or keeps its own where that
// is smaller (0 where the block is absent). The result has the right number of layers but not yet
// their identity: scores choose which layers stay. Under a limit on parameters these are equal
// sizes within it, as a prediction.
//
// Error(unsupported) naming the nearest legal size when a size is not a multiple of its granule.
// Also when a limit on parameters cannot be met. Error(usage) when a size exceeds that of every
// layer of the source.
arch::ModelDims resolve(const PruneTarget& target, const arch::Arch& arch,
                        const arch::ModelDims& before);
// The sizes of every layer of the source after pruning, in case it stays and no limit on parameters
// has to be met. `after` is the result of resolve().
std::vector<arch::LayerDims> resolve_layers(const PruneTarget& target, const arch::Arch& arch,
                                            const arch::ModelDims& before,
                                            const arch::ModelDims& after);
// Names the layers that have less than the target asks for and keep their size. For people. Empty
// where all layers have one size.
std::vector<std::string> smaller_layers(const PruneTarget& target, const arch::ModelDims& before);

}  // namespace espalier::plan
