// SPDX-License-Identifier: Apache-2.0
// Reads gates from YAML.
#include "recipe/gates.h"

#include "verify/verify.h"

namespace espalier::recipe {

nlohmann::json read_gates(YamlMap& map) {
  nlohmann::json out = nlohmann::json::object();
  for (const std::string& name : verify::gate_names())
    if (map.has(name)) {
      if (name.find("bytes") != std::string::npos)
        out[name] = *map.bytes(name);
      else
        out[name] = *map.real(name);
    } else {
      map.real(name);  // a known key without a value
    }
  map.finish();
  return out;
}

nlohmann::json read_gates(const std::string& path) {
  YamlMap map = YamlMap::load(path);
  return read_gates(map);
}

}  // namespace espalier::recipe
