// SPDX-License-Identifier: Apache-2.0
// YAML -> Recipe. Every key is checked.
#include <cctype>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "recipe/option_reader.h"
#include "recipe/step.h"
#include "recipe/yaml_reader.h"
#include "stages/reading.h"

namespace espalier::recipe {
namespace {

// What is delivered lies in --out itself, so that no recipe writes elsewhere.
std::string delivered_name(YamlMap& map, const stages::Stage& stage) {
  if (!stage.deliverable()) return "";
  const std::string name = map.text("deliver").value_or(stage.delivers());
  if (name.find('/') != std::string::npos || name == "." || name == "..")
    map.refuse("deliver", "'" + name + "': expected the name of a file in --out, without a folder");
  for (const char* own : {"stages", "check", "run.json", "run.lock"})
    if (name == own)
      map.refuse("deliver",
                 "'" + name + "' is what a run itself keeps in --out; name another file");
  return name;
}

const stages::Kind* kind_of(YamlMap& map) {
  const std::string name = map.required_text("kind");
  std::vector<std::string> names;
  for (const stages::Kind* kind : stages::all_kinds()) names.emplace_back(kind->name);
  at_key(map, "kind", [&] { options::require_known(names, name); });
  return stages::find_kind(name);
}

std::string name_of(YamlMap& map, const Recipe& recipe) {
  constexpr std::size_t kMost = 200;  // it names a folder, and temporary ones beside it
  std::string name = map.required_text("name");
  if (name.size() > kMost)
    map.refuse("name", "is of " + std::to_string(name.size()) + " bytes, at most " +
                           std::to_string(kMost) + " are possible");
  for (const char c : name)
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.') ||
        name.front() == '.')
      map.refuse("name", "'" + name + "': letters, digits, '-', '_' and '.' only");
  // "none" stands for no teacher; the others are what manifests call the texts.
  static const std::set<std::string> taken{"teacher", "none", "self", "text.train",
                                           "text.held_out"};
  ESP_CHECK(!taken.contains(name) && recipe.find(name) == nullptr, input, map.where("name"),
            ": stage name '", name, "' is taken");
  return name;
}

}  // namespace

Step parse_step(YamlMap& map, const Recipe& recipe) {
  Step step;
  step.name = name_of(map, recipe);
  step.place = map.where("name");
  step.kind = kind_of(map);
  step.stage = step.kind->make();
  const options::List list = step.stage->options();
  read_options(map, list);
  std::set<std::string> have;
  for (const stages::Input& input : step.stage->inputs())
    for (Link& link : links_of(map, input, step.name, recipe)) {
      have.insert(input.key);
      step.links.push_back(std::move(link));
    }
  const GivenKeys given(map, list);
  for (const options::Option& option : list)
    if (given.has(option.name)) step.stage->given_names.insert(option.name);
  for (const stages::Input& input : step.stage->inputs())
    if (map.has(input.key)) step.stage->given_names.insert(input.key);
  step.stage->check(given, have);
  std::erase_if(step.links, [&](const Link& link) { return !step.stage->reads(link.key); });
  step.deliver = delivered_name(map, *step.stage);
  if (step.deliver.empty() && step.stage->delivers_parts())
    core::note(map.where("split_bytes") +
               ": split_bytes: no effect without 'deliver', which names the parts; add it, or "
               "leave split_bytes out");
  map.finish();
  step.known_keys = map.known();
  return step;
}

namespace {

// Two stages that deliver one file would leave only the later one's.
void check_delivery(const Step& step, const Recipe& recipe) {
  if (step.deliver.empty()) return;
  for (const Step& other : recipe.stages)
    ESP_CHECK(other.deliver != step.deliver, input, step.place, ": stages '", other.name, "' and '",
              step.name, "' both deliver ", step.deliver, "; give one of them another 'deliver'");
}

void parse_texts(YamlMap& map, Recipe& recipe) {
  auto text = map.map("text");
  if (!text)
    map.refuse("text",
               "the training and held-out texts are missing: text: {train: FILE, held_out: FILE}");
  text->required_text("train");
  recipe.train_text = text->path_of("train");
  recipe.held_out_text = text->path_of("held_out");
  recipe.train_place = text->where("train");
  recipe.held_out_place = text->where("held_out");
  if (core::same_file(recipe.train_text, recipe.held_out_text))
    text->refuse("held_out",
                 "is the training text, so that nothing could be measured on it; name another "
                 "text, or leave it out");
  read_options(*text, stages::describe(recipe.reading, stages::kControlTokens));
  recipe.train_sha256 = text->text("train_sha256");
  recipe.held_out_sha256 = text->text("held_out_sha256");
  text->finish();
  for (const std::string& key : text->known()) recipe.known_keys.push_back("text." + key);
}

}  // namespace

const Step* Recipe::find(const std::string& stage_name) const {
  for (const Step& step : stages)
    if (step.name == stage_name) return &step;
  return nullptr;
}

Recipe parse_recipe(const std::string& path) {
  YamlMap map = YamlMap::load(path);
  Recipe recipe;
  recipe.path = path;
  recipe.text = core::read_text_file(path);
  recipe.name = map.required_text("name");
  recipe.seed = map.seed("seed").value_or(0);
  map.required_text("teacher");
  recipe.teacher = map.path_of("teacher");
  recipe.teacher_place = map.where("teacher");
  recipe.teacher_shape = map.path_of("teacher_shape");
  parse_texts(map, recipe);
  for (YamlMap& item : map.maps("stages")) {
    Step step = parse_step(item, recipe);
    check_delivery(step, recipe);
    recipe.stages.push_back(std::move(step));
  }
  map.finish();
  for (const std::string& key : map.known()) recipe.known_keys.push_back(key);
  ESP_CHECK(!recipe.stages.empty(), input, map.where(), ": a recipe needs at least one stage");
  return recipe;
}

}  // namespace espalier::recipe
