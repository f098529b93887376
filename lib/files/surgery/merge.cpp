// SPDX-License-Identifier: Apache-2.0
// Finds for every dropped block the layer that takes it, and adds up their tensors.
#include "surgery/merge.h"

#include <algorithm>
#include <map>

#include "core/error.h"

namespace espalier::surgery {
namespace {

// The layers whose block is merged into that of a kept layer, ascending.
using Merged = std::map<std::pair<const arch::Block*, int>, std::vector<int>>;

std::string sizes_of(const arch::Block& block, const arch::LayerDims& layer) {
  std::string out;
  for (const arch::Axis axis : block.axes) {
    out += out.empty() ? "" : ", ";
    out += std::string(arch::axis_name(axis)) + " " + std::to_string(layer[axis]);
  }
  return out;
}

// The plan's selection of a layer; nullptr where the layer goes.
const plan::LayerSelection* selection_of(const plan::PrunePlan& plan, std::int64_t layer) {
  const auto it = std::lower_bound(plan.keep_layers.begin(), plan.keep_layers.end(), layer);
  if (it == plan.keep_layers.end() || *it != layer) return nullptr;
  return &plan.layers[static_cast<std::size_t>(it - plan.keep_layers.begin())];
}

bool keeps(const plan::PrunePlan& plan, const arch::Block& block, std::int64_t layer) {
  const plan::LayerSelection* kept = selection_of(plan, layer);
  return kept != nullptr && std::none_of(block.axes.begin(), block.axes.end(), [&](arch::Axis a) {
           return (*kept)[a] && (*kept)[a]->empty();
         });
}

void require_whole(const plan::PrunePlan& plan, const arch::Block& block, int layer,
                   const arch::LayerDims& before) {
  const plan::LayerSelection& kept = *selection_of(plan, layer);
  for (const arch::Axis axis : block.axes) {
    const std::int64_t n =
        kept[axis] ? static_cast<std::int64_t>(kept[axis]->size()) : before[axis];
    ESP_CHECK(n == before[axis], usage, "compensate merge: layer ", layer, " keeps ", n, " of ",
              before[axis], " ", arch::axis_name(axis),
              ", and those of different layers do not correspond; drop layers or blocks alone, and "
              "prune the result for other sizes");
  }
}

void require_same(const arch::Block& block, const arch::ModelDims& dims, int from, int into) {
  const arch::LayerDims &a = dims.layers[static_cast<std::size_t>(from)],
                        &b = dims.layers[static_cast<std::size_t>(into)];
  ESP_CHECK(sizes_of(block, a) == sizes_of(block, b), unsupported, "compensate merge: the ",
            arch::block_name(block.kind), " of layer ", from, " (", sizes_of(block, a),
            ") would be merged into that of layer ", into, " (", sizes_of(block, b),
            "), and their sizes differ; choose least_squares or none, or a plan that drops other "
            "layers");
}

// Where the block of each layer goes that drops it.
void add_block(const arch::Block& block, const arch::ModelDims& before, const plan::PrunePlan& plan,
               Merged& out) {
  std::vector<int> stay, go;
  for (int l = 0; l < static_cast<int>(before.n_layers()); ++l) {
    if (!block.in(before.layers[static_cast<std::size_t>(l)])) continue;
    (keeps(plan, block, l) ? stay : go).push_back(l);
  }
  ESP_CHECK(go.empty() || !stay.empty(), unsupported, "compensate merge: no ",
            arch::block_name(block.kind),
            " stays that could take those that go; choose none, or keep one");
  for (const int l : go) {
    const auto behind = std::lower_bound(stay.begin(), stay.end(), l);
    const int into = behind == stay.begin() ? *behind : *std::prev(behind);
    require_same(block, before, l, into);
    require_whole(plan, block, into, before.layers[static_cast<std::size_t>(into)]);
    out[{&block, into}].push_back(l);
  }
}

Merged merged(const arch::Arch& arch, const arch::ModelDims& before, const plan::PrunePlan& plan) {
  Merged out;
  for (const arch::Block& block : arch.blocks) add_block(block, before, plan, out);
  ESP_CHECK(!out.empty(), usage,
            "compensate merge: no layer and no block is dropped, so nothing can be merged; give "
            "layers or blocks to keep, or leave compensate out");
  return out;
}

}  // namespace

void require_mergeable(const arch::Arch& arch, const arch::ModelDims& before,
                       const plan::PrunePlan& plan) {
  static_cast<void>(merged(arch, before, plan));
}

Replacement merge_dropped(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan) {
  plan::PrunePlan every_layer = plan::keep_all(source.dims());
  every_layer.hidden = plan.hidden;
  every_layer.vocab = plan.vocab;
  return [&source, into = merged(source.arch(), source.dims(), plan),
          every_layer = std::move(every_layer)](arch::Role role, int layer) {
    std::vector<float> out;
    for (const auto& [place, from] : into) {
      if (place.second != layer || !place.first->has(role)) continue;
      // sum of theta_k - (m - 1) theta_l, so that a single one is taken to the bit.
      out = cut_tensor(source, every_layer, role, from.front());
      const auto add = [&](int other, float times) {
        const std::vector<float> values = cut_tensor(source, every_layer, role, other);
        for (std::size_t i = 0; i < out.size(); ++i) out[i] += times * values[i];
      };
      for (std::size_t k = 1; k < from.size(); ++k) add(from[k], 1);
      if (from.size() > 1) add(layer, 1 - static_cast<float>(from.size()));
    }
    return out;
  };
}

std::int64_t merge_bytes(const arch::Arch& arch, const arch::ModelDims& before) {
  std::int64_t largest = 0;
  for (const arch::TensorRef& t : arch::tensors(arch, before))
    if (t.layer >= 0) largest = std::max(largest, t.elements());
  return 2 * static_cast<std::int64_t>(sizeof(float)) * largest;
}

}  // namespace espalier::surgery
