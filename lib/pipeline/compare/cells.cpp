// SPDX-License-Identifier: Apache-2.0
// Comparison -> cells -> recipes.
#include "compare/cells.h"

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "hash/sha256.h"
#include "options/json.h"
#include "prune/pruner.h"
#include "stages/calibration.h"

namespace espalier::compare {
namespace {

using recipe::Recipe;
using recipe::Step;
using recipe::YamlMap;

// Every {NAME} of a word for which the size has a key, and {ratio}.
std::string filled_in(std::string word, const Ratio& ratio, YamlMap keys) {
  const auto put = [&](const std::string& name, const std::string& value) {
    const std::string all = "{" + name + "}";
    for (std::size_t at = 0; (at = word.find(all, at)) != std::string::npos; at += value.size())
      word.replace(at, all.size(), value);
  };
  put("ratio", ratio.name);
  for (const std::string& key : keys.keys())
    if (const auto value = keys.text(key)) put(key, *value);
  return word;
}

// Keys that say how scores are computed, beside those of the text.
std::vector<std::string> score_options() {
  text::CalibrationOptions windows;
  const options::List of_windows = stages::describe(windows);
  const auto stage = stages::find_kind("score")->make();
  std::vector<std::string> out;
  for (const options::Option& option : stage->options())
    if (of_windows.find(option.name) == nullptr) out.push_back(option.name);
  return out;
}

bool names_the_size(const Scheme& scheme) {
  return scheme.model.find("{ratio}") != std::string::npos;
}

void add_cell(std::vector<Cell>& out, const Comparison& comparison, Cell cell) {
  cell.name = cell.scheme_name();
  if (cell.ratio != nullptr) cell.name += "@" + cell.ratio->name;
  if (cell.seed) cell.name += "@" + std::to_string(*cell.seed);
  cell.stages = {cell.scheme == nullptr         ? "dense"
                 : cell.scheme->kind == "given" ? "given"
                                                : "pruned"};
  if (comparison.distill && cell.stages.front() == "pruned" &&
      covers(comparison.distilled_schemes, cell.scheme_name()) &&
      covers(comparison.distilled_ratios, cell.ratio_name()))
    cell.stages.emplace_back("distilled");
  out.push_back(std::move(cell));
}

// The keys of a cell's first stage, each at its place in the file.
YamlMap keys_of(const Comparison& comparison, const Cell& cell) {
  YamlMap keys = cell.scheme->keys.rest();
  if (cell.scheme->kind == "external") {
    std::vector<std::string> words = keys.rest().texts("command");
    for (std::string& word : words) word = filled_in(word, *cell.ratio, cell.ratio->keys.rest());
    if (!words.empty()) keys.set("command", words);
  } else {
    keys.add(cell.ratio->keys);
    if (comparison.protocol.tokens && !keys.has("tokens"))
      keys.set("tokens", std::to_string(*comparison.protocol.tokens));
    if (comparison.protocol.sequence && !keys.has("sequence"))
      keys.set("sequence", std::to_string(*comparison.protocol.sequence));
  }
  return keys;
}

Recipe bare(const Comparison& comparison, std::uint64_t seed) {
  Recipe out;
  out.path = comparison.path;
  out.name = comparison.name;
  out.text = comparison.text;
  out.seed = seed;
  out.teacher = comparison.model;
  out.teacher_place = comparison.model_place;
  out.train_text = comparison.calibration;
  out.train_place = comparison.calibration_place;
  out.held_out_text = comparison.texts.front().path;
  out.held_out_place = comparison.calibration_place;
  out.reading = comparison.reading;
  return out;
}

void add_step(Recipe& recipe, YamlMap keys, const std::string& name, const std::string& kind) {
  keys.set("name", name);
  keys.set("kind", kind);
  recipe.stages.push_back(recipe::parse_step(keys, recipe));
  recipe.stages.back().deliver.clear();
}

// A model on disk takes the place of the teacher as what a stage reads.
void read_model(Step& step, const std::string& path) {
  for (recipe::Link& link : step.links)
    if (link.key == "from") link = {"from", "model file", path, "", {}, true, true};
}

std::string model_of(const Cell& cell) {
  return cell.ratio == nullptr
             ? cell.scheme->model
             : filled_in(cell.scheme->model, *cell.ratio, cell.ratio->keys.rest());
}

// What measures the model of a stage. `keys`: an empty map, whose place errors name.
void add_measures(Recipe& recipe, const Comparison& comparison, const Cell& cell,
                  const std::string& stage, const YamlMap& keys) {
  const Protocol& protocol = comparison.protocol;
  const bool made = stage == "pruned" || stage == "distilled";
  const auto add = [&](YamlMap more, const std::string& name, const std::string& kind) {
    more.set("from", made ? stage : "teacher");
    add_step(recipe, std::move(more), name, kind);
    if (stage == "given") read_model(recipe.stages.back(), model_of(cell));
  };
  for (const Text& text : comparison.texts) {
    YamlMap more = keys.rest();
    more.set("text", text.path);
    more.set("context", std::to_string(protocol.context));
    more.set("windows", std::to_string(protocol.windows));
    more.set("protocol", protocol.scoring);
    if (protocol.divergence && stage != "dense") more.set("against", "teacher");
    add(std::move(more), evaluation_name(stage, text.name), "eval");
  }
  std::error_code unreadable;
  const bool is_file =
      stage == "given" && !std::filesystem::is_directory(model_of(cell), unreadable);
  if (comparison.file && !is_file) add(comparison.file->rest(), file_name(stage), "quantize");
}

}  // namespace

std::string Cell::about() const {
  std::string out = "scheme '" + scheme_name() + "'";
  if (ratio != nullptr) out += ", size " + ratio->name;
  if (seed) out += ", seed " + std::to_string(*seed);
  return out;
}

std::string evaluation_name(const std::string& stage, const std::string& text) {
  return stage + "-on-" + text;
}
std::string file_name(const std::string& stage) { return stage + "-file"; }

std::vector<Cell> cells_of(const Comparison& comparison) {
  std::vector<Cell> out;
  add_cell(out, comparison, {});
  for (const Scheme& scheme : comparison.schemes) {
    if (scheme.kind == "given" && !names_the_size(scheme)) {
      add_cell(out, comparison, {.scheme = &scheme});
      continue;
    }
    for (const Ratio& ratio : comparison.ratios) {
      if (!covers(scheme.ratios, ratio.name)) continue;
      if (scheme.kind == "given") {
        add_cell(out, comparison, {.scheme = &scheme, .ratio = &ratio});
        continue;
      }
      for (const std::uint64_t seed : scheme.seeds.empty() ? comparison.seeds : scheme.seeds)
        add_cell(out, comparison, {.scheme = &scheme, .ratio = &ratio, .seed = seed});
    }
  }
  return out;
}

Recipe recipe_of(const Comparison& comparison, const Cell& cell, const std::string& scores) {
  Recipe out = bare(comparison, cell.seed.value_or(0));
  const YamlMap none =
      (cell.scheme != nullptr ? cell.scheme->keys : comparison.schemes.front().keys).only({});
  if (cell.stages.front() == "pruned") {
    YamlMap keys = keys_of(comparison, cell);
    if (!scores.empty()) {
      const std::string compensate = keys.rest().text("compensate").value_or("");
      const bool refits = compensate != "none" && compensate != "merge";
      for (const std::string& name : score_options()) keys.drop(name);
      keys.set("scores", scores);
      if (refits && !keys.has("text")) keys.set("text", "text.train");
      if (!refits)  // nothing is read
        for (const char* key : {"tokens", "sequence", "precision"}) keys.drop(key);
      // What is cut as it stands would otherwise keep the type of the model.
      if (!keys.has("dtype")) keys.set("dtype", "f32");
    }
    add_step(out, std::move(keys), "pruned", cell.scheme->kind);
  }
  add_measures(out, comparison, cell, cell.stages.front(), none);
  if (cell.stages.size() > 1) {
    YamlMap keys = comparison.distill->rest();
    keys.set("from", "pruned");
    add_step(out, std::move(keys), "distilled", "distill");
    add_measures(out, comparison, cell, "distilled", none);
  }
  return out;
}

std::string given_scores(const Cell& cell) {
  return cell.stages.front() == "pruned" && cell.scheme->kind == "prune"
             ? cell.scheme->keys.rest().path_of("scores")
             : "";
}

std::optional<ScoresWanted> scores_wanted(const Comparison& comparison, const Cell& cell) {
  if (cell.stages.front() != "pruned" || cell.scheme->kind != "prune") return std::nullopt;
  const YamlMap all = keys_of(comparison, cell);
  if (all.has("plan") || all.has("scores")) return std::nullopt;
  const auto stage = stages::find_kind("score")->make();
  std::set<std::string> names;
  for (const options::Option& option : stage->options()) names.insert(option.name);
  for (const stages::Input& input : stage->inputs()) names.insert(input.key);
  ScoresWanted out;
  out.recipe = bare(comparison, *cell.seed);
  add_step(out.recipe, all.only(names), "scores", "score");
  const nlohmann::ordered_json options =
      options::json_of(out.recipe.stages.back().stage->options());
  out.criterion = options.at("criterion").get<std::string>();
  if (prune::facts_of(out.criterion).turns) return std::nullopt;  // it scores no channels
  std::string identity = options.dump() + std::to_string(*cell.seed);
  for (const recipe::Link& link : out.recipe.stages.back().links) identity += link.name + link.path;
  out.name = out.criterion + "-" + hash::sha256(identity).substr(0, 12);
  // A stage compares sizes within a total by a text, which beside scores it reads for a refit
  // alone.
  const bool chooses = all.has("parameters") || all.has("per_layer"),
             refits = all.rest().text("compensate").value_or("") != "none";
  out.decides = prune::facts_of(out.criterion).before_the_pass && (refits || !chooses);
  return out;
}

}  // namespace espalier::compare
