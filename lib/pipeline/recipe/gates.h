// SPDX-License-Identifier: Apache-2.0
// Gates of a device card: a YAML map of limit names to numbers (configs/gates/). verify checks the
// names.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "recipe/yaml_reader.h"

namespace espalier::recipe {

nlohmann::json read_gates(YamlMap& map);  // reads all keys of the map; accepts sizes such as 62MB
nlohmann::json read_gates(const std::string& path);

}  // namespace espalier::recipe
