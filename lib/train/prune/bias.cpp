// SPDX-License-Identifier: Apache-2.0
// Looks for the consumers' biases in the family's table.
#include "prune/bias.h"

#include "core/error.h"

namespace espalier::prune {
namespace {

bool touches(const arch::Block& block, const std::vector<LayerCut>& cuts) {
  for (const LayerCut& layer : cuts)
    for (const arch::Axis axis : block.axes)
      if (layer.before[axis] != layer.after[axis]) return true;
  return false;
}

// Makes the model one with this bias.
void allow(const arch::Arch& arch, const arch::TensorSpec& bias, arch::ModelDims& after) {
  switch (bias.present) {
    case arch::Present::always:
    case arch::Present::untied:
      return;
    case arch::Present::attention_bias:
      after.attention_bias = true;
      return;
    case arch::Present::output_bias:
      after.output_bias = true;
      // One key of config.json stands for both.
      if (arch.keys.output_bias.empty() && arch::has_optional(arch, arch::Present::attention_bias))
        after.attention_bias = true;
      return;
    case arch::Present::mlp_bias:
      after.mlp_bias = true;
      return;
  }
}

}  // namespace

std::set<arch::Role> add_biases(const arch::Arch& arch, const std::vector<LayerCut>& cuts,
                                const arch::ModelDims& before, arch::ModelDims& after) {
  std::set<arch::Role> out;
  const bool thins = after.hidden != before.hidden, drops = after.n_layers() != before.n_layers();
  for (const arch::Block& block : arch.blocks) {
    const bool last = &block == &arch.blocks.back();
    if (!thins && !touches(block, cuts) && !(drops && last)) continue;
    const auto role = arch::bias_of(block.consumer);
    const arch::TensorSpec* bias = role ? block.find(*role) : nullptr;
    ESP_CHECK(bias != nullptr, unsupported, "compensate bias: ", arch::role_name(block.consumer),
              " of ", arch.name,
              " has no bias that could hold what the cut channels add; use least_squares");
    allow(arch, *bias, after);
    out.insert(*role);
  }
  return out;
}

}  // namespace espalier::prune
