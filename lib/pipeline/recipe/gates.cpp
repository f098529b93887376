// SPDX-License-Identifier: Apache-2.0
// Reads gates from YAML.
#include "recipe/gates.h"

#include "verify/verify.h"

namespace espalier::recipe {

nlohmann::json read_gates(YamlMap& map) {
  nlohmann::json out = nlohmann::json::object();
  for (const std::string& name : verify::gate_names()) {
    if (name.find("bytes") != std::string::npos) {
      if (const auto v = map.bytes(name)) out[name] = *v;
    } else if (const auto v = map.real(name)) {
      out[name] = *v;
    }
  }
  map.finish();
  return out;
}

nlohmann::json read_gates(const std::string& path) {
  YamlMap map = YamlMap::load(path);
  return read_gates(map);
}

}  // namespace espalier::recipe
