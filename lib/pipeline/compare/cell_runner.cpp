// SPDX-License-Identifier: Apache-2.0
// Cells as recipes: identity, runs, and what is kept of them.
#include "compare/cell_runner.h"

#include <malloc.h>

#include <filesystem>
#include <fstream>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "compare/turn.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/units.h"
#include "format/json_input.h"
#include "hash/sha256.h"
#include "recipe/runner.h"
#include "verify/child_bench.h"

namespace espalier::compare {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using recipe::Recipe;

// From here on the peak of this process's memory counts anew. Linux: proc(5), clear_refs.
void forget_peak_memory() {
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << 5;
}

// The weights of models that are measured. What says how they were made stays.
void remove_weights(const std::string& folder) {
  std::error_code ignored;
  std::vector<fs::path> weights;
  for (const auto& entry : fs::recursive_directory_iterator(folder, ignored)) {
    const std::string ending = entry.path().extension().string();
    if (ending == ".safetensors" || ending == ".gguf" || ending == ".bin")
      weights.push_back(entry.path());
  }
  for (const fs::path& file : weights) fs::remove(file, ignored);
}

std::string model_path(const std::string& folder, const Recipe& recipe, const std::string& stage) {
  return folder + "/stages/" + stage + "/" + recipe.find(stage)->result().file;
}

}  // namespace

CellRunner::CellRunner(const Comparison& comparison, const CompareOptions& options,
                       const core::Progress& progress)
    : comparison_(comparison), options_(options), progress_(progress) {}

void CellRunner::check(const Cell& cell) {
  const Recipe recipe = recipe_of(comparison_, cell);
  // What another tool wrote is opened when its turn comes, so that it fails by itself.
  if (cell.stages.front() == "given" || recipe.stages.empty()) return;
  try {
    const recipe::Plan plan = recipe::forecast_recipe(recipe, {options_.threads, options_.out});
    if (!plan.refusal.empty()) core::fail(core::ErrorKind::unsupported, plan.refusal);
  } catch (const core::Error& error) {
    if (cell.scheme == nullptr) throw;
    throw core::Error(error.kind(), error.what() + (" (" + cell.about() + ")"));
  }
}

std::string CellRunner::hash_of(const std::string& path, bool is_model) {
  const auto [found, is_new] = hashes_.try_emplace(path);
  std::error_code unreadable;
  if (is_new)
    found->second = is_model ? checkpoint::Checkpoint::open(path).sha256()
                    : fs::is_directory(path, unreadable)
                        ? recipe::artifact_hash(stages::Artifact::folder, path)
                        : hash::sha256_file(path);
  return found->second;
}

// Of all stages, with the name of a stage in place of what it will make.
std::string CellRunner::identity_of(const Recipe& recipe) {
  hash::Sha256 sum;
  sum.update(std::string(recipe.reading.control_tokens ? "control tokens" : "letters") + "\n");
  const recipe::RunOptions options{.out = options_.out, .bench_program = options_.bench_program};
  for (const recipe::Step& step : recipe.stages) {
    const checkpoint::Manifest manifest =
        recipe::identity_of(step, recipe, options, [&](const recipe::StageInput& input) {
          if (!input.stage.empty()) return "stage " + input.stage + " " + input.output.file;
          const bool is_model = input.kind == recipe::StageInput::Kind::teacher;
          return hash_of(is_model ? recipe.teacher : input.path, is_model);
        });
    sum.update(step.name + " " + checkpoint::identity(manifest) + "\n");
  }
  return sum.hex();
}

Json CellRunner::run_recipe(const Recipe& recipe, const std::string& folder,
                            const std::string& until) {
  const recipe::RunOptions options{.out = folder,
                                   .bench_program = options_.bench_program,
                                   .threads = options_.threads,
                                   .max_ram = options_.max_ram,
                                   .until = until,
                                   .reference_folder = options_.out + "/reference"};
  const recipe::Plan plan = recipe::forecast_recipe(recipe, {options_.threads, folder});
  if (!plan.refusal.empty()) core::fail(core::ErrorKind::unsupported, plan.refusal);
  return recipe::Runner(recipe, options, progress_).run(plan);
}

std::optional<ScoresMade> CellRunner::scores(const Cell& cell) {
  if (const std::string given = given_scores(cell); !given.empty())
    return ScoresMade{cell.scheme->name, given};
  const std::optional<ScoresWanted> wanted = scores_wanted(comparison_, cell);
  if (!wanted) return std::nullopt;
  if (const auto it = scores_made_.find(wanted->name); it != scores_made_.end()) return it->second;
  const std::string folder = options_.out + "/scores/" + wanted->name;
  core::make_directory(folder);
  const Turn turn(folder + "/turn.lock");
  const Json ran = run_recipe(wanted->recipe, folder, "");
  return scores_made_[wanted->name] = ScoresMade{
             wanted->criterion, fs::absolute(folder).string() + "/stages/scores/scores.safetensors",
             ran.at("stages").at(0).at("metrics").at("seconds").get<double>()};
}

// Runs the scheme's own stage alone, so that its memory is known. What an earlier run has measured
// stands.
void CellRunner::own_stage(const Recipe& recipe, const Cell& cell) {
  forget_peak_memory();
  const Json ran = run_recipe(recipe, folder_of(cell), "pruned");
  if (ran.at("stages").at(0).at("status") == "done")
    core::write_text_file(folder_of(cell) + "/memory.json",
                          Json{{"peak_rss_bytes", core::peak_rss_bytes()}}.dump() + "\n");
}

Costs CellRunner::costs_of(const Json& ran, const Cell& cell) const {
  Costs out;
  for (const Json& stage : ran.at("stages")) {
    const std::string name = stage.at("name").get<std::string>();
    if (name == "pruned") out.seconds = stage.at("metrics").at("seconds").get<double>();
    if (name == "distilled") out.distill_seconds = stage.at("metrics").at("seconds").get<double>();
  }
  const std::string memory = folder_of(cell) + "/memory.json";
  std::error_code unreadable;
  // The memory of a command of another engine is not that of this process.
  if (cell.stages.front() == "pruned" && cell.scheme->kind == "prune" &&
      fs::exists(memory, unreadable))
    out.peak_rss_bytes = format::parse_json<Json>(core::read_text_file(memory), memory)
                             .at("peak_rss_bytes")
                             .get<std::int64_t>();
  return out;
}

StageNumbers CellRunner::numbers_of(const Cell& cell, const std::string& stage) const {
  const std::string folder = folder_of(cell);
  const Recipe recipe = recipe_of(comparison_, cell);
  std::string path = comparison_.model;
  if (stage == "given")
    path = recipe.find(evaluation_name(stage, comparison_.texts.front().name))->links.front().path;
  else if (stage != "dense")
    path = model_path(folder, recipe, stage);
  const auto model = checkpoint::Checkpoint::open(path);
  constexpr std::int64_t kBytesOfWeight = 2;  // F16 or BF16
  StageNumbers out;
  out.parameters = arch::parameters(model.arch(), model.dims());
  out.bytes = kBytesOfWeight * out.parameters;
  std::error_code unreadable;
  if (recipe.find(file_name(stage)) != nullptr)
    out.bytes = static_cast<std::int64_t>(
        fs::file_size(model_path(folder, recipe, file_name(stage)), unreadable));
  else if (stage != "dense" && model.is_gguf())
    out.bytes = static_cast<std::int64_t>(model.file_bytes());
  for (const Text& text : comparison_.texts)
    out.texts[text.name] = read_measured(folder + "/stages/" + evaluation_name(stage, text.name));
  return out;
}

void CellRunner::measure_speed(const Cell& cell, Finished& finished) const {
  const Recipe recipe = recipe_of(comparison_, cell);
  for (const std::string& stage : cell.stages) {
    if (recipe.find(file_name(stage)) == nullptr) continue;
    const Json bench = verify::child_bench(options_.bench_program,
                                           model_path(folder_of(cell), recipe, file_name(stage)),
                                           options_.threads);
    finished.costs.decode[stage] = bench.at("decode_tokens_per_second").get<double>();
  }
}

Finished CellRunner::make(const Cell& cell, const std::string& identity) {
  std::string scores_path;
  if (const auto wanted = scores_wanted(comparison_, cell); wanted && wanted->decides)
    scores_path = scores(cell)->path;
  const Recipe recipe = recipe_of(comparison_, cell, scores_path);
  if (cell.stages.front() == "pruned") own_stage(recipe, cell);
  const Json ran = run_recipe(recipe, folder_of(cell), "");
  Finished out{.identity = identity, .stages = {}, .costs = costs_of(ran, cell)};
  for (const std::string& stage : cell.stages) out.stages[stage] = numbers_of(cell, stage);
  measure_speed(cell, out);
  return out;
}

Outcome CellRunner::run(const Cell& cell) {
  const std::string folder = folder_of(cell), file = folder + "/cell.json";
  try {
    const std::string identity = identity_of(recipe_of(comparison_, cell));
    core::make_directory(folder);
    const Turn turn(folder + "/turn.lock");
    std::error_code unreadable;
    if (fs::exists(file, unreadable)) {
      Finished there = finished_from(file);
      if (there.identity == identity) return {std::move(there)};
    }
    Finished made = make(cell, identity);
    core::write_text_file(file, to_json(made).dump() + "\n");
    if (!comparison_.keep_models) remove_weights(folder + "/stages");
    return {std::move(made)};
  } catch (const std::exception& error) {
    const std::string told = error.what();
    core::note(cell.about() + ": failed: " + told.substr(0, told.find('\n')));
    return {std::nullopt, told};
  }
}

}  // namespace espalier::compare
