// SPDX-License-Identifier: Apache-2.0
// Code that the criteria of whole layers share: walks through the model.
#pragma once
#include "prune/criterion.h"
#include "prune/influence.h"

namespace espalier::prune {

void walk_through(const LayersInput& input, layerwise::Visitor& visitor);
// 1 - the mean likeness of what each layer reads and leaves.
LayerScores by_likeness(const LayersInput& input, Likeness likeness);

}  // namespace espalier::prune
