// SPDX-License-Identifier: Apache-2.0
// Runs the stages of a recipe in order, skips finished stages, and delivers results.
#include "recipe/runner.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/parts.h"
#include "core/units.h"
#include "data/corpus.h"
#include "hash/sha256.h"
#include "recipe/key_names.h"
#include "recipe/planner.h"
#include "recipe/run_record.h"
#include "stages/weight.h"

namespace espalier::recipe {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Runner::Runner(const Recipe& recipe, const RunOptions& options, const core::Progress& progress)
    : recipe_(recipe), options_(options), progress_(progress) {}

std::string Runner::directory_of(const std::string& stage) const {
  return options_.out + "/stages/" + stage;
}
std::string Runner::result_of(const Step& step) const {
  return directory_of(step.name) + "/" + step.result().file;
}

std::string Runner::path_of(const Link& link) const {
  return link.stage.empty() ? link.path : directory_of(link.stage) + "/" + link.output.file;
}

std::string Runner::hash_of(const StageInput& input) {
  switch (input.kind) {
    case StageInput::Kind::record:
      return record_hash(*recipe_.find(input.stage));
    case StageInput::Kind::teacher:
      if (!hashes_.contains("teacher"))
        hashes_["teacher"] = checkpoint::Checkpoint::open(recipe_.teacher).sha256();
      return hashes_.at("teacher");
    case StageInput::Kind::output:
      if (input.first_output) return hashes_.at(input.stage);
      return artifact_hash(input.output.artifact,
                           directory_of(input.stage) + "/" + input.output.file);
    case StageInput::Kind::file:
      break;
  }
  if (!file_hashes_.contains(input.path)) {
    std::error_code unreadable;
    file_hashes_[input.path] = fs::is_directory(input.path, unreadable)
                                   ? artifact_hash(stages::Artifact::folder, input.path)
                                   : hash::sha256_parts(input.path);
  }
  return file_hashes_[input.path];
}

bool Runner::is_done(const Step& step, const checkpoint::Manifest& wanted) const {
  const std::string directory = directory_of(step.name);
  if (!checkpoint::has_manifest(directory)) return false;
  const checkpoint::Manifest have = checkpoint::read_manifest(directory);
  if (have.inputs != wanted.inputs || have.options != wanted.options ||
      have.algorithm != wanted.algorithm)
    return false;
  try {  // damaged or missing outputs are made again
    const auto it = have.outputs.find("output");
    return it != have.outputs.end() &&
           it->second == artifact_hash(step.result().artifact, result_of(step));
  } catch (const core::Error&) {
    return false;
  }
}

void Runner::deliver(const Step& step) const {
  if (!step.deliver.empty())
    step.stage->deliver(result_of(step), options_.out + "/" + step.deliver);
}

// Parts of an input that the parts of a delivered model would replace.
static void require_other_parts(const std::string& target, const std::vector<std::string>& inputs) {
  std::error_code error;
  const std::string name = target.ends_with(".gguf") ? target.substr(0, target.size() - 5) : target;
  for (const std::string& in : inputs)
    if (const auto part = core::part_name(in))
      ESP_CHECK(fs::weakly_canonical(part->prefix, error) != fs::weakly_canonical(name, error),
                usage, target, ": its parts would replace the input ", in,
                "; choose another name for 'deliver'");
}

stages::Context Runner::context_of(const Step& step, const checkpoint::Manifest& manifest) const {
  stages::Context out = surroundings_of(step, recipe_, options_);
  for (const Link& link : step.links)
    out.inputs[link.key].push_back(
        {link.stage.empty() ? link.name : link.stage, path_of(link), link.weight});
  out.folder = directory_of(step.name);
  out.out = result_of(step);
  out.work = out.folder + "/checkpoint";
  out.max_ram = options_.max_ram;
  // execute() has removed what other inputs or options left. What another --max-ram left may not be
  // of use either.
  out.resume = out.or_start_over = true;
  out.device_program = options_.bench_program;
  out.reference_folder = options_.reference_folder;
  out.lineage = manifest.inputs;
  if (step.stage->reads_records()) out.record = record();
  out.progress = progress_;
  return out;
}

void Runner::execute(const Step& step, checkpoint::Manifest& manifest) {
  const std::string directory = directory_of(step.name);
  checkpoint::Manifest started = manifest;
  started.options.update(step.stage->machine());
  // What an unfinished or outdated run left goes. The same work goes on; a report is quick.
  checkpoint::WorkOptions work{.folder = directory};
  const std::string identity = checkpoint::identity(started);
  work.resume = !step.stage->reads_records() && checkpoint::WorkFolder(work, identity).started() &&
                !checkpoint::has_manifest(directory);
  if (!work.resume && !step.stage->reads_records() && !checkpoint::has_manifest(directory) &&
      fs::exists(directory + "/started.json"))
    core::note("stage '" + step.name +
               "': an unfinished run with other options or inputs was here; it starts over");
  checkpoint::WorkFolder folder(work, identity);
  folder.begin();
  folder.start();
  const stages::Context context = context_of(step, manifest);
  manifest.metrics = speaking_of_keys(step, "", [&] { return step.stage->run(context).metrics; });
  checkpoint::WorkFolder::remove(context.work);
}

// No result may replace a file that the recipe reads. What runs leave in a stage's folder is
// removed when the stage is made again.
void Runner::check_outputs() const {
  core::require_writable_directory(options_.out);
  std::vector<std::string> inputs{recipe_.path, recipe_.teacher, recipe_.teacher_shape,
                                  recipe_.train_text, recipe_.held_out_text};
  for (const Step& step : recipe_.stages)
    for (const Link& link : step.links) inputs.push_back(link.path);
  core::require_not_input(options_.out, inputs);
  for (const Step& step : recipe_.stages) {
    if (!step.deliver.empty()) {
      const std::string target = options_.out + "/" + step.deliver;
      core::require_not_input(target, inputs);
      if (step.stage->delivers_parts()) require_other_parts(target, inputs);
      core::require_writable_file(target);
    }
    const std::string folder = directory_of(step.name);
    for (const std::string& in : inputs)
      ESP_CHECK(in.empty() || !core::lies_in(in, folder), usage, in,
                ": lies in the folder of stage '", step.name,
                "', which the run replaces; choose another --out");
  }
}

checkpoint::Manifest Runner::wanted(const Step& step) {
  checkpoint::Manifest manifest =
      identity_of(step, recipe_, options_, [&](const StageInput& input) { return hash_of(input); });
  if (window_bos_ && manifest.inputs.contains("text.train"))
    manifest.options[data::kWindowBos] = *window_bos_;
  for (const Link& link : step.links)
    if (link.key == "text" && link.path != stages::kSelf) {
      const std::string& reading = reading_of(path_of(link));
      if (reading.empty()) continue;
      auto& said = manifest.options[data::kTextReading];  // of several texts: of one after another
      said = said.is_null() ? reading : said.get<std::string>() + "; " + link.name + ": " + reading;
    }
  return manifest;
}

// How a text is read, where that is not by the letters of its file.
const std::string& Runner::reading_of(const std::string& path) {
  const auto [found, is_new] = readings_.try_emplace(path);
  if (is_new)
    found->second = text::describe_reading(
        text::Tokenizer(checkpoint::Checkpoint::open(recipe_.teacher).tokenizer()),
        text::read_documents(path), recipe_.reading);
  return found->second;
}

// What stages are expected to take, before any of them has run here.
void Runner::expect_times(Plan plan) {
  const bool fresh = std::none_of(
      recipe_.stages.begin(), recipe_.stages.end(),
      [&](const Step& step) { return checkpoint::has_manifest(directory_of(step.name)); });
  if (options_.timing_seconds <= 0 || !fresh) return;
  time_stages(plan, options_.timing_seconds);
  for (std::size_t i = 0; i < recipe_.stages.size(); ++i)
    if (plan.seconds[i]) expected_[recipe_.stages[i].name] = *plan.seconds[i];
}

Json Runner::run_step(const Step& step, checkpoint::Manifest manifest, bool done, Json& failures) {
  const std::string directory = directory_of(step.name);
  if (progress_ && !done)
    progress_({step.name, 0, 0, "", "starting (" + std::string(step.kind->name) + ")"});
  if (!done) {
    const auto start = std::chrono::steady_clock::now();
    execute(step, manifest);
    manifest.metrics["seconds"] =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (const auto it = expected_.find(step.name); it != expected_.end())
      manifest.metrics["expected_seconds"] = it->second;
    manifest.outputs["output"] = artifact_hash(step.result().artifact, result_of(step));
    checkpoint::write_manifest(directory, manifest);
  } else {
    manifest = checkpoint::read_manifest(directory);
  }
  hashes_[step.name] = manifest.outputs.at("output");
  deliver(step);
  if (manifest.metrics.contains("failed"))
    for (const Json& line : manifest.metrics["failed"])
      failures.push_back(step.name + ": " + line.get<std::string>());
  return {{"name", step.name},
          {"kind", step.kind->name},
          {"status", done ? "cached" : "done"},
          {"output", directory},
          {"metrics", manifest.metrics}};
}

Json Runner::run(const Plan& plan) {
  check_outputs();
  core::make_directory(options_.out);
  RunRecord record(recipe_, options_.out);
  window_bos_ = text::window_bos(checkpoint::Checkpoint::open(recipe_.teacher).tokenizer());
  expect_times(plan);
  Json stages = Json::array(), failures = Json::array();
  bool again = false;
  for (const Step& step : recipe_.stages) {
    record.at(step.name);
    again = again || step.name == options_.from;
    const checkpoint::Manifest manifest = wanted(step);
    const bool done = !again && is_done(step, manifest);
    ESP_CHECK(options_.from.empty() || again || done, usage, "--from ", options_.from, ": stage '",
              step.name, "' before it is not finished; run it first, without --from");
    stages.push_back(run_step(step, manifest, done, failures));
    if (step.name == options_.until) break;
  }
  record.end();
  return {{"recipe", recipe_.name},
          {"output", options_.out},
          {"passed", failures.empty()},
          {"failures", failures},
          {"stages", stages}};
}

std::map<std::string, std::string> Runner::finished_hashes() {
  std::map<std::string, std::string> out;
  for (const Step& step : recipe_.stages) {
    const std::string directory = directory_of(step.name);
    ESP_CHECK(checkpoint::has_manifest(directory), input, directory, ": stage '", step.name,
              "' is not finished; run the recipe first, without --check");
    out[step.name] = artifact_hash(step.result().artifact, result_of(step));
  }
  return out;
}

// Error(usage) for a stage that the recipe does not have.
static void require_stage(const Recipe& recipe, const std::string& name, const char* flag) {
  if (name.empty() || recipe.find(name) != nullptr) return;
  std::vector<std::string> names;
  for (const Step& step : recipe.stages) names.push_back(step.name);
  const std::string nearest = core::nearest_name(name, names.data(), names.size());
  core::fail(core::ErrorKind::usage, flag, " ", name, ": ", recipe.path, " has no such stage",
             nearest.empty() ? "" : "; did you mean '" + nearest + "'?");
}

// Refuses what cannot work before anything starts.
static Plan checked(const Recipe& recipe, const RunOptions& options) {
  require_stage(recipe, options.until, "--until");
  require_stage(recipe, options.from, "--from");
  for (const Step& step : recipe.stages)
    if (step.stage->runs_device_program()) stages::require_device_program(options.bench_program);
  Plan plan = forecast_recipe(recipe, {options.threads, options.out});
  if (!plan.refusal.empty()) core::fail(core::ErrorKind::unsupported, plan.refusal);
  return plan;
}

Json run_recipe(const std::string& path, const RunOptions& options,
                const core::Progress& progress) {
  const Recipe recipe = parse_recipe(path);
  return Runner(recipe, options, progress).run(checked(recipe, options));
}

Json check_recipe(const std::string& path, const RunOptions& options,
                  const core::Progress& progress) {
  Recipe recipe = parse_recipe(path);
  const Plan plan = checked(recipe, options);
  const std::map<std::string, std::string> there =
      Runner(recipe, options, progress).finished_hashes();
  const auto compared = [](const Step& step) {
    return step.result().artifact != stages::Artifact::card &&
           step.result().artifact != stages::Artifact::page;
  };
  Json stages = Json::array();
  for (const Step& step : recipe.stages)
    if (!compared(step))
      stages.push_back(
          {{"name", step.name}, {"kind", step.kind->name}, {"result", "not compared"}});
  std::erase_if(recipe.stages, [&](const Step& step) { return !compared(step); });
  const core::PathLock lock(options.out + "/run.lock", options.out, core::PathLock::After::keep);
  RunOptions scratch = options;
  scratch.out = options.out + "/check";
  std::error_code ignored;
  fs::remove_all(scratch.out, ignored);
  scratch.timing_seconds = 0;
  Runner(recipe, scratch, progress).run(plan);
  const std::map<std::string, std::string> again =
      Runner(recipe, scratch, progress).finished_hashes();
  bool same = true;
  for (const Step& step : recipe.stages) {
    const std::string &one = there.at(step.name), &other = again.at(step.name);
    same = same && one == other;
    stages.push_back({{"name", step.name},
                      {"kind", step.kind->name},
                      {"result", one == other ? "same" : "differs"},
                      {"there", one},
                      {"again", other}});
  }
  fs::remove_all(scratch.out, ignored);
  return {{"recipe", recipe.name}, {"output", options.out}, {"same", same}, {"stages", stages}};
}

}  // namespace espalier::recipe
