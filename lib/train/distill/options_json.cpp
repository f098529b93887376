// SPDX-License-Identifier: Apache-2.0
// Writes the options as JSON.
#include "distill/options_json.h"

#include "options/json.h"

namespace espalier::distill {

nlohmann::ordered_json options_json(const TrainOptions& options) {
  TrainOptions described = options;
  nlohmann::ordered_json out = options::json_of(describe(described));
  out["seed"] = options.seed;
  return out;
}

}  // namespace espalier::distill
