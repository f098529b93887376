// SPDX-License-Identifier: Apache-2.0
#include "support/golden_models.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace espalier::support {

GoldenModel golden_model(const std::string& name) {
  GoldenModel g;
  g.directory = std::string(ESPALIER_SOURCE_DIR "/tests/golden/model_") + name;
  const auto json = nlohmann::json::parse(std::ifstream(g.directory + "/golden.json"));
  g.sequences = json.at("ids").get<std::vector<std::vector<std::int32_t>>>();
  for (const auto& batch : json.at("logits"))
    for (const auto& row : batch)
      for (const auto& v : row) g.values.push_back(v.get<float>());
  g.control_distances = json.at("control_distances").get<std::map<std::string, double>>();
  return g;
}

}  // namespace espalier::support
