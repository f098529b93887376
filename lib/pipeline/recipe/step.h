// SPDX-License-Identifier: Apache-2.0
// A recipe as it was read: stages with names, each joined to what it reads. A stage is a function
// from files to a directory, out/stages/<name>/. It is finished when its manifest.json exists and
// matches the recipe.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stages/stage.h"

namespace espalier::recipe {

// One input of a stage: what an earlier stage makes, or a file.
struct Link {
  std::string key;   // of the stage's inputs
  std::string name;  // as manifests call it; names of files hold a space, a dot or no stage's name
  std::string path;  // of a file, or of the teacher; empty for an output of a stage
  std::string stage = {};      // the earlier stage; empty: none
  stages::Output output = {};  // of that stage
  bool first_output = true;    // the result of that stage, not what it leaves beside it
  bool is_model = false;       // a directory or a GGUF
  double weight = 1;           // of a text, among those of the key
};

struct Step {
  std::string name, place;                   // place: file:line:column
  std::vector<std::string> known_keys = {};  // all that the parser takes in a stage of this kind
  const stages::Kind* kind = nullptr;
  std::shared_ptr<stages::Stage> stage;
  std::vector<Link> links;
  std::string deliver;  // the name of the result in --out; empty: it stays in its folder

  stages::Output result() const { return stage->outputs().front(); }
};

struct Recipe {
  std::string path, name, text;  // text: the contents of the file
  std::uint64_t seed = 0;
  std::string teacher, train_text, held_out_text;
  text::Reading reading = {};                              // of all texts
  std::string teacher_place, train_place, held_out_place;  // file:line:column
  // A config.json from which `plan` takes the sizes while the teacher is absent.
  std::string teacher_shape;
  // Hashes that the recipe states. Checked before anything runs.
  std::optional<std::string> train_sha256, held_out_sha256;
  std::vector<std::string> known_keys = {};  // all that the parser takes beside the stages
  std::vector<Step> stages;                  // in order; a stage may need only earlier stages
  const Step* find(const std::string& stage_name) const;
};

Recipe parse_recipe(const std::string& path);
class YamlMap;
// One stage. It may name the stages that `recipe` has.
Step parse_step(YamlMap& map, const Recipe& recipe);

// Joins what a stage asks for under `input` to an earlier stage, the teacher, a text of the recipe
// or a file. Error(input) with the place of the key.
std::vector<Link> links_of(YamlMap& map, const stages::Input& input, const std::string& stage,
                           const Recipe& recipe);

}  // namespace espalier::recipe
