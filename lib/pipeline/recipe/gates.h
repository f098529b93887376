// SPDX-License-Identifier: Apache-2.0
// Gates of a device card: a YAML map of limit names to numbers (configs/gates/). Names are checked
// by verify.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "recipe/yaml_reader.h"

namespace espalier::recipe {

nlohmann::json read_gates(YamlMap& map);  // all keys of the map; sizes such as 62MB are understood
nlohmann::json read_gates(const std::string& path);

}  // namespace espalier::recipe
