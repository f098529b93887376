// SPDX-License-Identifier: Apache-2.0
// manifest.json of a stage's directory: hashes of the inputs, options, seed, tool version, sizes
// before and after, and result numbers. It is written last and atomically. A directory without it
// is unfinished.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace espalier::checkpoint {

struct Manifest {
  std::string stage = {};                          // "prune", "distill", ...
  std::string tool_version = {};                   // filled by write_manifest() when empty
  std::map<std::string, std::string> inputs = {};  // name -> sha256
  nlohmann::ordered_json options = {};  // everything that determines the result, including the seed
  nlohmann::ordered_json metrics = {};  // numbers that the stage measured
  std::map<std::string, std::string> outputs = {};  // file -> sha256
};

std::string tool_version();
void write_manifest(const std::string& directory, const Manifest& manifest);
bool has_manifest(const std::string& directory);
Manifest read_manifest(const std::string& directory);  // Error(input) with the place when broken

}  // namespace espalier::checkpoint
