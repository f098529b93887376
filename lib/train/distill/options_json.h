// SPDX-License-Identifier: Apache-2.0
// Training options as manifests record them: all that can change the trained weights. The identity
// of a run in a directory and that of a recipe's stage both come from here.
#pragma once
#include <nlohmann/json.hpp>

#include "distill/options.h"

namespace espalier::distill {

// `precision` as given, "auto" included. Not in it: checkpoint_every, for a resumed run ends with
// the same bytes as one left alone.
nlohmann::ordered_json options_json(const TrainOptions& options);

}  // namespace espalier::distill
