// SPDX-License-Identifier: Apache-2.0
// Arithmetic of plans: validity, sizes after pruning, and composition of two plans.
// prune_plan_json.cpp holds the JSON form, prune_target.cpp the target sizes.
#include "plan/prune_plan.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace espalier::plan {
namespace {

void check_selection(const Selection& selection, std::int64_t size, const std::string& where,
                     const std::string& axis, bool may_be_empty = false) {
  if (!selection) return;
  ESP_CHECK(!selection->empty() || size == 0 || may_be_empty, input, where, ": ", axis,
            ": nothing is kept");
  std::int64_t previous = -1;
  for (const std::int64_t index : *selection) {
    ESP_CHECK(index >= 0 && index < size, input, where, ": ", axis, ": index ", index,
              " is out of range, there are ", size);
    ESP_CHECK(index > previous, input, where, ": ", axis, ": index ", index, " after ", previous,
              "; indices must rise");
    previous = index;
  }
}

std::int64_t kept(const Selection& selection, std::int64_t size) {
  return selection ? static_cast<std::int64_t>(selection->size()) : size;
}

}  // namespace

PrunePlan keep_all(const arch::ModelDims& dims) {
  PrunePlan plan;
  for (std::int64_t l = 0; l < dims.n_layers(); ++l) plan.keep_layers.push_back(l);
  plan.layers.resize(dims.layers.size());
  return plan;
}

void validate(const PrunePlan& plan, const arch::ModelDims& before, const std::string& where) {
  check_selection(plan.keep_layers, before.n_layers(), where, "keep_layers");
  ESP_CHECK(!plan.keep_layers.empty(), input, where, ": keep_layers: nothing is kept");
  ESP_CHECK(plan.layers.size() == plan.keep_layers.size(), input, where, ": layers has ",
            plan.layers.size(), " entries for ", plan.keep_layers.size(), " kept layers");
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    const arch::LayerDims& layer = before.layers[static_cast<std::size_t>(plan.keep_layers[i])];
    const std::string axis = "layer " + std::to_string(plan.keep_layers[i]) + ": ";
    for (const arch::Axis a : arch::kLayerAxes) {
      // Without any index of a block's first axis, the layer lacks the block.
      const bool whole_block = std::find(arch::kScoredAxes.begin(), arch::kScoredAxes.end(), a) !=
                               arch::kScoredAxes.end();
      check_selection(plan.layers[i][a], layer[a], where, axis + std::string(axis_name(a)),
                      whole_block);
    }
  }
  check_selection(plan.hidden, before.hidden, where, "hidden");
  check_selection(plan.vocab, before.vocab, where, "vocab");
}

void require_source(const PrunePlan& plan, const std::string& source, const std::string& sha256,
                    const std::string& where) {
  ESP_CHECK(plan.source_sha256.empty() || plan.source_sha256 == sha256, input, where,
            ": was made for another model (SHA-256 ", plan.source_sha256, "; ", source, " has ",
            sha256, "); give the model it was made for");
}

void require_channels(const PrunePlan& plan, const std::string& where) {
  ESP_CHECK(plan.basis.empty() || !plan.hidden, input, where, ": hidden: criterion ", plan.basis,
            " turned the stream, so these are directions, which a plan does not hold; prune with "
            "that criterion and the same text and seed, or turn the model first (criterion ",
            plan.basis, " with the whole hidden size) and cut the result by plans of its own");
}

arch::ModelDims dims_after(const PrunePlan& plan, const arch::ModelDims& before) {
  arch::ModelDims after = before;
  after.hidden = kept(plan.hidden, before.hidden);
  after.vocab = kept(plan.vocab, before.vocab);
  after.layers.clear();
  for (std::size_t i = 0; i < plan.keep_layers.size(); ++i) {
    const arch::LayerDims& layer = before.layers.at(static_cast<std::size_t>(plan.keep_layers[i]));
    const LayerSelection& selection = plan.layers.at(i);
    arch::LayerDims& out = after.layers.emplace_back(layer);
    for (const arch::Axis axis : arch::kLayerAxes) out[axis] = kept(selection[axis], layer[axis]);
    if (out[arch::Axis::kv_groups] == 0) out[arch::Axis::q_per_kv] = 0;
  }
  return after;
}

}  // namespace espalier::plan
