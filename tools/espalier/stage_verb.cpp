// SPDX-License-Identifier: Apache-2.0
// Runs a stage on the files of a command line.
#include "stage_verb.h"

#include <algorithm>
#include <filesystem>

#include "checkpoint/description.h"
#include "command_line.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/parts.h"
#include "core/pipe.h"
#include "core/units.h"
#include "leftovers.h"
#include "lineage.h"
#include "option_flags.h"
#include "reference.h"
#include "stages/reading.h"
#include "stages/weight.h"
#ifdef ESPALIER_WITH_TRAINING
#include "recipe/option_reader.h"
#endif

namespace espalier::tool {
namespace {

namespace fs = std::filesystem;

bool is_directory(stages::Artifact artifact) {
  return artifact == stages::Artifact::model || artifact == stages::Artifact::logits;
}

// NAME=PATH, or a path that names itself.
stages::Source named(const std::string& text) {
  const auto at = text.find('=');
  std::error_code unreadable;
  if (at == std::string::npos || at == 0 || fs::exists(text, unreadable))
    return {fs::is_directory(text, unreadable) ? checkpoint::model_name(text)
                                               : fs::path(text).filename().string(),
            text};
  return {text.substr(0, at), text.substr(at + 1)};
}

void add_input(StageVerb& verb, const stages::Input& input) {
  std::vector<std::string>& paths = verb.inputs[input.key];
  CLI::Option* option = verb.app->add_option(input.flag, [&paths](const CLI::results_t& given) {
    paths = given;
    return true;
  });
  option->description(input.help)
      ->type_name(input.many ? "[NAME=]PATH" : "PATH")
      ->group("inputs and output");
  if (input.many || input.weighted) option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  if (input.many && input.flag.front() != '-')  // words that stand by themselves
    option->expected(CLI::detail::expected_max_vector_size);
  if (input.required) option->required();
}

}  // namespace

std::shared_ptr<StageVerb> add_stage_verb(CLI::App& app, Common& common, const char* kind,
                                          const char* help_of_out) {
  auto verb = std::make_shared<StageVerb>();
  verb->kind = stages::find_kind(kind);
  verb->stage = verb->kind->make();
  verb->common = &common;
  verb->app = app.add_subcommand(kind, std::string(verb->kind->purpose));
  if (!verb->kind->example.empty())
    verb->app->footer("Example:\n  " + std::string(verb->kind->example));
  for (const stages::Input& input : verb->stage->inputs()) add_input(*verb, input);
  if (help_of_out != nullptr)
    verb->app->add_option("--out", verb->out, help_of_out)
        ->type_name("PATH")
        ->group("inputs and output")
        ->required();
#ifdef ESPALIER_WITH_TRAINING
  verb->app
      ->add_option("--config", verb->config,
                   "YAML file with the options below, as a stage of a recipe has them")
      ->type_name("FILE")
      ->group("inputs and output");
#endif
  add_flags(*verb->app, verb->stage->options());
  if (verb->inputs.contains("text"))
    add_flags(*verb->app, stages::describe(verb->reading, stages::kTextControlTokens));
  add_common(*verb->app, common, true);
  add_pre(*verb->app);
  verb->trains = verb->stage->knows_devices();
  if (verb->trains) add_experimental_device(*verb->app, common);
  add_max_ram(*verb->app, common);
  add_profile(*verb->app, common);
  for (const auto& [key, meaning] : verb->kind->results) describe_json(*verb->app, key, meaning);
  if (!verb->kind->results.empty()) {
    if (help_of_out != nullptr) describe_json(*verb->app, "output", "path of the result");
    describe_json(*verb->app, "peak_rss_bytes", "most memory that the process held");
  }
  verb->app->callback([verb] { verb->run(); });
  return verb;
}

void add_stage_verbs(CLI::App& app, Common& common) {
  for (const stages::Kind* kind : stages::all_kinds()) {
    const std::string name(kind->name);
    const auto verbs = app.get_subcommands({});
    const bool there = std::any_of(verbs.begin(), verbs.end(),
                                   [&](const CLI::App* verb) { return verb->get_name() == name; });
    if (kind->example.empty() || there) continue;
    const auto artifact = kind->make()->outputs().front().artifact;
    const std::string help = std::string(artifact_name(artifact)) + " to write";
    const auto verb = add_stage_verb(app, common, name.c_str(), help.c_str());
    add_resume(*verb->app, common);
  }
}

// "a.txt:2" becomes a path and a weight.
void StageVerb::split_weights() {
  for (const stages::Input& input : stage->inputs()) {
    if (!input.weighted) continue;
    for (std::string& word : inputs.at(input.key)) {
      try {
        const stages::Weighted split = stages::split_weight(word, [](const std::string& path) {
          std::error_code unreadable;
          return fs::exists(path, unreadable);
        });
        word = split.name;
        weights[input.key].push_back(split.weight);
      } catch (const core::Error& e) {
        core::fail(e.kind(), kind->name, ": ", input.flag, " ", word, ": ", e.what(),
                   "; no file has that name, so the number is a weight");
      }
    }
  }
}

// A pipe gives its content once, and inputs are looked at more than once.
void StageVerb::keep_pipes() {
  for (auto& [key, paths] : inputs)
    for (std::string& path : paths) path = core::readable_again(path);
  config = core::readable_again(config);
  more = core::readable_again(more);
}

// Nothing is read before the result can be written, and is no input.
void StageVerb::check_output() const {
  std::vector<std::string> paths{config, more};
  for (const stages::Input& input : stage->inputs())
    for (const std::string& path : inputs.at(input.key))
      paths.push_back(input.many ? named(path).path : path);
  core::require_not_input(out, paths);
  for (const auto& [file, path] : beside) {
    if (path.empty()) continue;
    core::require_not_input(path, paths);
    ESP_CHECK(!core::same_file(path, out) && path != out, usage, path,
              ": is named twice, and would hold two results");
    core::require_writable_file(path);
  }
  const CLI::Option* flag = app->get_option_no_throw(out_flag);
  if (out.empty() && (flag == nullptr || flag->count() == 0)) return;
  if (is_directory(stage->outputs().front().artifact))
    core::require_writable_directory(out);
  else
    core::require_writable_file(out);
}

// What a flag says stands above the file.
void StageVerb::read_options() {
  const options::List list = stage->options();
#ifdef ESPALIER_WITH_TRAINING
  if (!config.empty()) stage->given_names = recipe::read_options_file(config, list);
#endif
  if (read_more && !more.empty()) read_more(*this);
  read_flags(*app, list);
  if (inputs.contains("text"))
    read_flags(*app, stages::describe(reading, stages::kTextControlTokens));
}

// What can be said before any file of the work is opened.
void StageVerb::check_options() const {
  const options::List list = stage->options();
  std::map<std::string, std::string> flags;
  std::set<std::string> have;
  for (const stages::Input& input : stage->inputs()) {
    flags[input.key] = input.flag;
    if (inputs.at(input.key).empty()) continue;
    have.insert(input.key);
    stage->given_names.insert(input.key);
  }
  const GivenFlags given(*app, list, std::move(flags));
  for (const options::Option& option : list)
    if (given.has(option.name)) stage->given_names.insert(option.name);
  stage->check(given, have);
}

stages::Context StageVerb::context() const {
  stages::Context c;
  for (const stages::Input& input : stage->inputs())
    for (const std::string& path : inputs.at(input.key)) {
      if (!stage->reads(input.key)) continue;
      std::vector<stages::Source>& sources = c.inputs[input.key];
      sources.push_back(input.many ? named(path) : stages::Source{input.key, path});
      if (input.weighted) sources.back().weight = weights.at(input.key).at(sources.size() - 1);
    }
  c.out = out;
  const bool directory = is_directory(stage->outputs().front().artifact);
  // A stage that writes a directory works inside it.
  const std::string kept = directory || out.empty() ? "" : core::beside(out, ".work");
  c.work = common->work.empty() ? kept : common->work;
  for (const auto& [file, path] : beside)
    if (!path.empty()) c.beside[file] = path;
  c.resume = common->resume;
  if (directory)
    note_nothing_to_resume(*common, out);
  else
    static_cast<void>(work_options(
        *common, kept, "name it with --work, or the result with " + std::string(out_flag)));
  c.threads = common->threads;
  c.seed = common->seed;
  c.max_ram = common->max_ram_bytes();
  c.device_program = common->device_program();
  c.lineage = lineage_of(*stage, c);
  c.progress = common->progress();
  c.reading = reading;
  return c;
}

// Two processes that write one result would take each other's unfinished work away.
std::unique_ptr<core::PathLock> StageVerb::lock() const {
  if (out.empty()) return nullptr;
  const std::string path = core::lock_of_output(out);
  if (const std::string folder = fs::path(path).parent_path().string(); !folder.empty())
    core::make_directory(folder);
  return std::make_unique<core::PathLock>(path, out, core::PathLock::After::remove);
}

void StageVerb::run() {
  if (instead && instead(*this)) return;
  split_weights();
  keep_pipes();
  check_output();
  apply_device(*common, trains);
  read_options();
  check_options();
  const auto lock = this->lock();
  const stages::Context context = this->context();
  const stages::Result result =
      without_leftovers({out, context.work}, [&] { return stage->run(context); });
  nlohmann::ordered_json printed = result.printed.is_null() ? result.metrics : result.printed;
  if (result.printed.is_null()) {
    for (const stages::Output& output : stage->outputs()) {
      const std::string main = stage->outputs().front().file;
      if (output.artifact == stages::Artifact::prune_plan)
        printed["plan"] = out + output.file.substr(main.size());
    }
    if (!out.empty() && !printed.contains("output")) printed["output"] = out;
    printed["peak_rss_bytes"] = core::peak_rss_bytes();
  }
  if (!result.notes.empty()) printed["notes"] = result.notes;
  print(*common, printed, result.told);
  checkpoint::WorkFolder::remove(context.work);
  const std::string first = stage->inputs().front().key;
  ESP_CHECK(result.failures.empty(), check_failed, inputs.at(first).front(), ": ", result.failures,
            " (see the card)");
}

}  // namespace espalier::tool
