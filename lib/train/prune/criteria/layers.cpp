// SPDX-License-Identifier: Apache-2.0
// Walks for criteria of whole layers.
#include "prune/criteria/layers.h"

namespace espalier::prune {

void walk_through(const LayersInput& input, layerwise::Visitor& visitor) {
  const torch::InferenceMode inference;
  layerwise::WalkOptions options = input.walk;
  options.stage = "layers";
  layerwise::Walk(input.model, input.windows, {&visitor}, options).run();
}

LayerScores by_likeness(const LayersInput& input, Likeness likeness) {
  Influence influence(input.windows.size(0), likeness);
  walk_through(input, influence);
  return {{0, influence.of_layers}};
}

}  // namespace espalier::prune
