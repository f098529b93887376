// SPDX-License-Identifier: Apache-2.0
// The calibration texts of a stage, with their weights. `self` is the text that the model writes
// itself. Only where the training side is built.
#pragma once
#include <vector>

#include "data/mixture.h"
#include "stages/stage.h"
#include "stages/weight.h"

namespace espalier::stages {

// For a walk over so much of them. Writes the model's own text where it is asked for; Error
// (unsupported) where its memory exceeds the run's limit.
std::vector<data::Share> texts_of(const Context& context, const checkpoint::Checkpoint& source,
                                  const text::CalibrationOptions& calibration);

}  // namespace espalier::stages
