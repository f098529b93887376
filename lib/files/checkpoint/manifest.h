// SPDX-License-Identifier: Apache-2.0
// manifest.json of a stage's directory: hashes of the inputs, options, seed, versions, sizes before
// and after, and result numbers. It is written last and atomically. A directory without it is
// unfinished.
//
// The identity of a stage is its inputs, its options and the algorithm version of its kind. A stage
// is done when all three are what a run asks for now. The rule for the two versions:
//   "algorithm"     an integer for each kind of stage. A change of Espalier that alters what this
//                   kind writes for the same inputs and options raises it by one, in the same
//                   commit (manifest.cpp). Finished stages of that kind are then made again.
//   "tool_version"  the project's version and what git says of the sources. It is recorded for
//                   people and never compared, because most commits change no result.
// Earlier versions did not record "algorithm". Their manifests are read as algorithm 0, which no
// kind has: `run` makes those stages again. Whatever only reads such a manifest still accepts it.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::checkpoint {

struct Manifest {
  std::string stage = {};                          // "prune", "distill", ...
  int algorithm = 0;                               // algorithm_version(stage) when it was made
  std::string tool_version = {};                   // filled by write_manifest() when empty
  std::map<std::string, std::string> inputs = {};  // name -> sha256
  nlohmann::ordered_json options = {};  // everything that determines the result, including the seed
  nlohmann::ordered_json metrics = {};  // numbers that the stage measured
  std::map<std::string, std::string> outputs = {};  // file -> sha256
};

// "prune", "distill", "cache", "quantize", "verify" and "report".
const std::vector<std::string>& stage_kinds();
int algorithm_version(std::string_view stage);  // Error(internal) for a kind that has none
// A hash of inputs, options and algorithm.
std::string identity(const Manifest& manifest);
std::string tool_version();  // "espalier 0.1.0 (1a2b3c4-dirty)"
void write_manifest(const std::string& directory, const Manifest& manifest);
bool has_manifest(const std::string& directory);
Manifest read_manifest(const std::string& directory);  // Error(input) with the place when broken

}  // namespace espalier::checkpoint
