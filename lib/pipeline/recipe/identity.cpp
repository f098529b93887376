// SPDX-License-Identifier: Apache-2.0
// The identity of a stage, from its described options and its links.
#include "recipe/identity.h"

#include "options/json.h"
#include "stages/weight.h"

namespace espalier::recipe {

std::vector<StageInput> inputs_of(const Step& step, const Recipe& recipe) {
  std::vector<StageInput> out;
  for (const Link& link : step.links) {
    if (link.path == stages::kSelf) continue;  // the model, the seed and the options say all
    const auto kind = !link.stage.empty()      ? StageInput::Kind::output
                      : link.name == "teacher" ? StageInput::Kind::teacher
                                               : StageInput::Kind::file;
    out.push_back({kind, link.name, link.path, link.stage, link.output, link.first_output});
  }
  if (step.stage->reads_records())
    for (const Step& earlier : recipe.stages) {
      if (earlier.name == step.name) break;
      out.push_back({StageInput::Kind::record, earlier.name, "", earlier.name});
    }
  return out;
}

stages::Context surroundings_of(const Step& step, const Recipe& recipe, const RunOptions& options) {
  stages::Context out;
  out.threads = options.threads;
  out.seed = recipe.seed;
  out.reading = recipe.reading;
  out.record = {{"title", recipe.name}, {"recipe", recipe.text}};
  // What is judged goes by the name under which it is delivered.
  for (const Link& link : step.links)
    if (link.key == step.stage->inputs().front().key && !link.stage.empty())
      out.file_name = recipe.find(link.stage)->deliver;
  return out;
}

checkpoint::Manifest identity_of(const Step& step, const Recipe& recipe, const RunOptions& options,
                                 const std::function<std::string(const StageInput&)>& hash) {
  checkpoint::Manifest out;
  out.stage = step.kind->name;
  out.algorithm = step.kind->algorithm;
  for (const StageInput& input : inputs_of(step, recipe)) out.inputs[input.name] = hash(input);
  nlohmann::ordered_json all{{"kind", out.stage}};
  // Which input is which, by the names that the manifest gives to their hashes.
  for (const Link& link : step.links) all[link.key].push_back(link.name);
  // Equal weights of one text say nothing.
  for (const Link& link : step.links)
    if (all[link.key].size() > 1 && link.weight != 1)
      all[link.key + "_weights"][link.name] = link.weight;
  all.update(options::json_of(step.stage->options()));
  if (step.stage->uses_seed()) all["seed"] = recipe.seed;
  all.update(step.stage->surroundings(surroundings_of(step, recipe, options)));
  out.options = all;
  return out;
}

}  // namespace espalier::recipe
