// SPDX-License-Identifier: Apache-2.0
// What decides a stage's result: the content of everything it reads, its options, and the algorithm
// version of its kind. A stage is skipped only when all of it is as its manifest says. Internal to
// lib/pipeline/recipe.
#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "recipe/recipe.h"
#include "recipe/stage.h"

namespace espalier::recipe {

struct StageInput {
  enum class Kind {
    model,  // "teacher", or what an earlier stage made
    file,   // a text or a plan, at `path`
    record  // what an earlier stage left for the report
  };
  Kind kind;
  std::string name;  // as manifests name it; names of files hold a space or are no stage's
  std::string path = {};
};
// Everything the stage reads. Parts that a recipe names with `use:` are not among them: what they
// say has become options.
std::vector<StageInput> inputs_of(const Stage& stage, const Recipe& recipe);

// Every option that can change what the stage writes.
nlohmann::ordered_json options_json(const Stage& stage, const Recipe& recipe,
                                    const RunOptions& options);

// A manifest with stage, algorithm, inputs and options filled in. `hash`: SHA-256 of an input.
checkpoint::Manifest identity_of(const Stage& stage, const Recipe& recipe,
                                 const RunOptions& options,
                                 const std::function<std::string(const StageInput&)>& hash);

}  // namespace espalier::recipe
