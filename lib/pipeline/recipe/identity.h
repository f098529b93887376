// SPDX-License-Identifier: Apache-2.0
// What decides a stage's result: the content of everything it reads, its options, and the algorithm
// version of its kind. A stage is skipped only when all of it is as its manifest says. Internal to
// lib/pipeline.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "recipe/recipe.h"
#include "recipe/step.h"

namespace espalier::recipe {

struct StageInput {
  enum class Kind {
    teacher,
    output,  // of an earlier stage
    file,    // at `path`
    record   // what an earlier stage left for the report
  };
  Kind kind;
  std::string name;  // as manifests name it
  std::string path = {};
  std::string stage = {};      // of an output or record
  stages::Output output = {};  // of that stage
  bool first_output = true;
};
// Everything the stage reads. Parts that a recipe names with `use:` are not among them: what they
// say has become options.
std::vector<StageInput> inputs_of(const Step& step, const Recipe& recipe);

// What a recipe knows of a stage's surroundings without running it: threads, names, its own text.
stages::Context surroundings_of(const Step& step, const Recipe& recipe, const RunOptions& options);

// A manifest with stage, algorithm, inputs and options filled in. `hash`: SHA-256 of an input.
checkpoint::Manifest identity_of(const Step& step, const Recipe& recipe, const RunOptions& options,
                                 const std::function<std::string(const StageInput&)>& hash);

}  // namespace espalier::recipe
