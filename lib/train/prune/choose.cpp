// SPDX-License-Identifier: Apache-2.0
// The highest scores of each axis, of the layers and of the blocks.
#include "prune/choose.h"

#include <algorithm>

namespace espalier::prune {

using arch::Axis;

plan::PrunePlan choose(const Scores& scores, const arch::ModelDims& before,
                       const arch::ModelDims& after, const std::vector<arch::LayerDims>& sizes,
                       bool blocks) {
  plan::PrunePlan plan = plan::keep_all(before);
  if (after.n_layers() != before.n_layers())
    plan.keep_layers =
        keep_highest(scores.of_layers(before.n_layers() - after.n_layers()), after.n_layers());
  if (after.hidden != before.hidden) plan.hidden = keep_highest(scores.at("hidden"), after.hidden);
  plan.layers.assign(plan.keep_layers.size(), {});
  const auto cut = [&](Axis axis) {
    std::vector<std::int64_t> wanted;
    for (const arch::LayerDims& l : sizes) wanted.push_back(l[axis]);
    const KeptOfLayers kept = keep_highest_per_layer(scores, axis, wanted);
    for (std::size_t k = 0; k < plan.layers.size(); ++k) {
      const auto l = static_cast<std::size_t>(plan.keep_layers[k]);
      if (wanted[l] == before.layers[l][axis]) continue;
      static_cast<void>(scores.at(scores_name(axis, static_cast<int>(l))));
      plan.layers[k][axis] = kept[l];
    }
  };
  for (const Axis axis : arch::kScoredAxes)
    if (blocks) cut(axis);
  return plan;
}

std::vector<PresentBlock> present_blocks(const arch::Arch& arch, const arch::ModelDims& dims) {
  std::vector<PresentBlock> out;
  for (std::size_t l = 0; l < dims.layers.size(); ++l)
    for (const arch::Block& block : arch.blocks)
      if (block.in(dims.layers[l])) out.push_back({l, &block});
  return out;
}

plan::PrunePlan choose_blocks(const Scores& scores, const arch::Arch& arch,
                              const arch::ModelDims& before, std::int64_t keep) {
  const std::vector<PresentBlock> blocks = present_blocks(arch, before);
  std::vector<double> values;
  for (const PresentBlock& b : blocks)
    values.push_back(scores.at(block_scores_name(b.block->kind)).at(b.layer));
  std::vector<plan::LayerSelection> layers(before.layers.size());
  std::vector<bool> stays(before.layers.size(), false);
  const std::vector<std::int64_t> kept = keep_highest(values, keep);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (std::binary_search(kept.begin(), kept.end(), static_cast<std::int64_t>(i)))
      stays[blocks[i].layer] = true;
    else
      layers[blocks[i].layer][blocks[i].block->axis()] = std::vector<std::int64_t>();
  }
  plan::PrunePlan plan;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    if (!stays[l]) continue;
    plan.keep_layers.push_back(static_cast<std::int64_t>(l));
    plan.layers.push_back(layers[l]);
  }
  return plan;
}

plan::PrunePlan largest_blocks(const arch::Arch& arch, const arch::ModelDims& before,
                               std::int64_t keep) {
  Scores sizes;
  for (const PresentBlock& b : present_blocks(arch, before)) {
    arch::ModelDims without = before;
    without.layers[b.layer][b.block->axis()] = 0;
    std::vector<double>& of_kind = sizes.all[block_scores_name(b.block->kind)];
    of_kind.resize(before.layers.size());
    of_kind[b.layer] =
        static_cast<double>(arch::parameters(arch, before) - arch::parameters(arch, without));
  }
  return choose_blocks(sizes, arch, before, keep);
}

}  // namespace espalier::prune
