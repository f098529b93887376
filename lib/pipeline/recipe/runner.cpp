// SPDX-License-Identifier: Apache-2.0
// Runs the stages of a recipe in order, skips finished stages, and delivers results.
#include "recipe/runner.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "calibrate/sequential_rounding.h"
#include "core/error.h"
#include "core/file.h"
#include "core/output.h"
#include "core/units.h"
#include "export/budget.h"
#include "hash/sha256.h"
#include "report/report.h"
#include "verify/verify.h"

namespace espalier::recipe {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Runner::Runner(const Recipe& recipe, const RunOptions& options, const core::Progress& progress)
    : recipe_(recipe), options_(options), progress_(progress) {}

std::string Runner::directory_of(const std::string& stage) const {
  return options_.out + "/stages/" + stage;
}

std::string Runner::model_of(const std::string& name) const {
  if (name == "teacher") return recipe_.teacher;
  return directory_of(name) + (recipe_.find(name)->kind() == "quantize" ? "/model.gguf" : "/model");
}

std::string Runner::output_hash(const Stage& stage) const {
  const std::string directory = directory_of(stage.name), kind = stage.kind();
  if (kind == "prune" || kind == "distill")
    return checkpoint::Checkpoint::open(directory + "/model").sha256();
  return hash::sha256_file(directory + (kind == "quantize" ? "/model.gguf"
                                        : kind == "verify" ? "/device-card.json"
                                                           : "/report.html"));
}

std::string Runner::hash_of(const StageInput& input) {
  if (input.kind == StageInput::Kind::record) return record_hash(*recipe_.find(input.name));
  if (input.kind == StageInput::Kind::model) {
    if (input.name == "teacher" && !hashes_.contains(input.name))
      hashes_[input.name] = checkpoint::Checkpoint::open(recipe_.teacher).sha256();
    return hashes_.at(input.name);
  }
  if (!file_hashes_.contains(input.path)) file_hashes_[input.path] = hash::sha256_file(input.path);
  return file_hashes_[input.path];
}

bool Runner::is_done(const Stage& stage, const checkpoint::Manifest& wanted) const {
  const std::string directory = directory_of(stage.name);
  if (!checkpoint::has_manifest(directory)) return false;
  const checkpoint::Manifest have = checkpoint::read_manifest(directory);
  if (have.inputs != wanted.inputs || have.options != wanted.options ||
      have.algorithm != wanted.algorithm)
    return false;
  if (stage.kind() == "verify" &&
      !(have.metrics.contains("passed") && have.metrics["passed"].is_boolean() &&
        have.metrics.contains("failures") && have.metrics["failures"].is_string()))
    return false;
  try {  // damaged or missing outputs are made again
    const auto it = have.outputs.find("output");
    return it != have.outputs.end() && it->second == output_hash(stage);
  } catch (const core::Error&) {
    return false;
  }
}

void Runner::deliver(const std::string& file, const std::string& name) const {
  if (name.empty()) return;
  const std::string target = options_.out + "/" + name;
  if (core::same_file(file, target)) return;
  std::error_code error;
  const std::string temporary = target + ".tmp";
  fs::remove(temporary, error);
  fs::create_hard_link(file, temporary, error);
  if (error) {
    fs::copy_file(file, temporary, fs::copy_options::overwrite_existing, error);
    ESP_CHECK(!error, input, target, ": cannot write: ", error.message());
  }
  fs::rename(temporary, target, error);
  ESP_CHECK(!error, input, target, ": cannot replace: ", error.message());
}

void Runner::execute(const PruneStage& what, const std::string& directory,
                     checkpoint::Manifest& manifest) {
  const auto source = checkpoint::Checkpoint::open(model_of(what.from));
  prune::PruneOptions options = what.options;
  // execute(Stage) has removed what other inputs or options left.
  options.resume = true;
  options.threads = options_.threads;
  const prune::PruneResult result = prune::prune(source, directory + "/model", options, progress_);
  manifest.metrics["parameters_before"] = result.parameters_before;
  manifest.metrics["parameters_after"] = result.parameters_after;
}

void Runner::execute(const DistillStage& what, const std::string& directory,
                     checkpoint::Manifest& manifest) {
  distill::TrainInput input;
  input.teacher = what.teacher == "none" ? "" : model_of(what.teacher);
  input.student = model_of(what.from);
  input.text = recipe_.train_text;
  input.held_out = recipe_.held_out_text;
  input.out = directory + "/model";
  input.threads = options_.threads;
  std::error_code unreadable;
  input.resume = fs::exists(input.out, unreadable);
  const distill::TrainResult r = distill::distill(input, what.options, progress_);
  manifest.metrics = {{"steps", r.steps},
                      {"tokens", r.tokens},
                      {"loss_first", r.loss_first},
                      {"loss_last", r.loss_last},
                      {"tokens_per_second", r.tokens_per_second},
                      {"peak_rss_bytes", r.peak_rss_bytes}};
}

plan::QuantPlan Runner::quant_plan(const QuantizeStage& what, const checkpoint::Checkpoint& source,
                                   const exporter::ExportOptions& options) const {
  if (!what.format.empty())
    return plan::quant_plan(source.arch(), source.dims(), what.format, what.overrides);
  exporter::BudgetOptions budget;
  budget.target_bytes =
      what.target_bytes
          ? *what.target_bytes
          : static_cast<std::int64_t>(core::file_stamp(model_of(what.no_larger_than)).bytes);
  budget.imatrix = options.imatrix;
  budget.overrides = what.overrides;
  for (const std::string& name : what.candidates)
    budget.candidates.push_back(*format::format_by_name(name));
  budget.threads = options_.threads;
  return exporter::plan_for_budget(source, budget, options, progress_);
}

void Runner::execute(const QuantizeStage& what, const std::string& directory,
                     checkpoint::Manifest& manifest) {
  const std::string model = model_of(what.from);
  auto source = checkpoint::Checkpoint::open(model);
  source.fill_absent_blocks();
  quant::Imatrix imatrix;
  exporter::ExportOptions options;
  options.rounding = what.rounding;
  options.no_tokenizer = what.no_tokenizer;
  options.threads = options_.threads;
  exporter::require_tokenizer(source, options);
  const std::string work = directory + "/model.gguf.work";
  const auto part = [&](const char* name) {
    return checkpoint::WorkOptions{
        .folder = work + "/" + name, .resume = true, .threads = options_.threads};
  };
  const text::CalibrationOptions calibration = what.calibration.within(source.dims().positions);
  std::optional<data::Corpus> corpus;
  if (what.rounding != quant::Rounding::nearest) {
    corpus = data::load_corpus(recipe_.train_text, text::Tokenizer(source.tokenizer()), progress_);
    imatrix = calibrate::collect_imatrix(source, *corpus, calibration, moments_of(what), progress_,
                                         part("imatrix"));
    options.imatrix = &imatrix;
  }
  for (const auto& [name, hash] : manifest.inputs)
    options.provenance["espalier.lineage." + name + ".sha256"] = hash;
  const plan::QuantPlan plan = quant_plan(what, source, options);
  core::write_text_file(directory + "/quant-plan.json", plan::to_json(plan));
  std::optional<calibrate::SequentialRounding> sequential;
  if (what.rounding == quant::Rounding::gptq) {
    sequential.emplace(source, plan, imatrix, *corpus, calibration, part("rounding"));
    options.rounded = [&](arch::Role role, int layer) { return sequential->rounded(role, layer); };
  }
  const exporter::ExportResult r =
      exporter::export_gguf(source, plan, directory + "/model.gguf", options, progress_);
  checkpoint::WorkFolder::remove(work);
  Json formats;
  for (const auto& [name, n] : r.formats)
    formats[name] = {{"tensors", n.tensors}, {"parameters", n.parameters}};
  manifest.metrics = {{"file_bytes", r.file_bytes},
                      {"planned_bytes", r.planned_bytes},
                      {"bits_per_weight", r.bits_per_weight},
                      {"formats", formats},
                      {"parameters", arch::parameters(source.arch(), source.dims())}};
}

void Runner::execute(const VerifyStage& what, const std::string& directory,
                     checkpoint::Manifest& manifest) {
  verify::VerifyOptions options;
  options.teacher = recipe_.teacher;
  options.student = what.student.empty() ? "" : model_of(what.student);
  options.text_path = recipe_.held_out_text;
  options.context = what.context;
  options.max_windows = what.windows;
  options.bench_program = options_.bench_program;
  options.threads = options_.threads;
  for (const std::string& name : what.compare) options.compare.push_back({name, model_of(name)});
  options.lineage = manifest.inputs;
  options.gates = what.gates;
  // execute(Stage) has removed what other inputs or options left.
  options.work = {.folder = directory + "/checkpoint", .resume = true, .threads = options_.threads};
  verify::VerifyResult result = verify::verify(model_of(what.of), options, progress_);
  if (const std::string name = delivered(*recipe_.find(what.of)); !name.empty())
    result.card["file"] = name;
  core::write_text_file(directory + "/device-card.json", result.card.dump(2) + "\n");
  checkpoint::WorkFolder::remove(options.work.folder);
  manifest.metrics["gates"] = verify::gates_name(result.gates);
  manifest.metrics["parity"] = result.parity ? "passed" : "failed";
  manifest.metrics["passed"] = result.passed();
  manifest.metrics["failures"] = result.failures();
}

void Runner::execute(const ReportStage& what, const std::string& directory, checkpoint::Manifest&) {
  core::write_text_file(directory + "/report.html", report::report_html(report_data(what)));
}

void Runner::execute(const Stage& stage, checkpoint::Manifest& manifest) {
  const std::string directory = directory_of(stage.name);
  checkpoint::Manifest started = manifest;
  if (const auto* d = std::get_if<DistillStage>(&stage.what))  // another machine may differ
    started.options["precision"] = distill::matmul_precision(d->options.precision);
  // What an unfinished or outdated run left goes. The same work goes on; a report is quick.
  checkpoint::WorkOptions work{.folder = directory};
  const std::string identity = checkpoint::identity(started);
  work.resume = stage.kind() != "report" && checkpoint::WorkFolder(work, identity).started() &&
                !checkpoint::has_manifest(directory);
  checkpoint::WorkFolder folder(work, identity);
  folder.begin();
  folder.start();
  std::visit([&](const auto& what) { execute(what, directory, manifest); }, stage.what);
}

// Texts that are not what the recipe was written for are refused before anything is made of them.
void Runner::check_texts() {
  const auto check = [&](const std::string& path, const std::optional<std::string>& expected) {
    if (!expected || path.empty()) return;
    const std::string actual = hash_of({StageInput::Kind::file, "", path});
    ESP_CHECK(*expected == actual, input, path, ": SHA-256 is ", actual, ", the recipe expects ",
              *expected, "; another version of Python ships another text");
  };
  check(recipe_.train_text, recipe_.train_sha256);
  check(recipe_.held_out_text, recipe_.held_out_sha256);
}

// No result may replace a file that the recipe reads. What runs leave in a stage's folder is
// removed when the stage is made again.
void Runner::check_outputs() const {
  core::require_writable_directory(options_.out);
  std::vector<std::string> inputs{recipe_.path, recipe_.teacher, recipe_.teacher_shape,
                                  recipe_.train_text, recipe_.held_out_text};
  for (const Stage& stage : recipe_.stages)
    if (const auto* p = std::get_if<PruneStage>(&stage.what))
      inputs.push_back(p->options.plan_path);
  std::error_code error;
  for (const Stage& stage : recipe_.stages) {
    if (const std::string name = delivered(stage); !name.empty()) {
      const std::string target = options_.out + "/" + name;
      core::require_not_input(target, inputs);
      core::require_writable_file(target);
    }
    const fs::path folder = fs::weakly_canonical(directory_of(stage.name), error);
    for (const std::string& in : inputs) {
      if (in.empty()) continue;
      const fs::path inside = fs::weakly_canonical(in, error).lexically_relative(folder);
      ESP_CHECK(inside.empty() || *inside.begin() == "..", usage, in,
                ": lies in the folder of stage '", stage.name,
                "', which the run replaces; choose another --out");
    }
  }
}

// A value of a card. Bytes and counts have more digits than a real number is printed with.
static std::string value_text(double v) {
  return v == std::floor(v) && std::abs(v) < 1e15 ? std::to_string(static_cast<std::int64_t>(v))
                                                  : core::number(v);
}

// One line for everything in a card that did not pass.
static std::vector<std::string> failures_of(const std::string& stage, const Json& card) {
  std::vector<std::string> out;
  if (const Json& parity = card.at("parity"); !parity.at("passed").get<bool>())
    for (const char* leg : {"a", "b"}) {
      const std::string key = std::string("leg_") + leg;
      const double error = parity.at(key + "_relative_error").get<double>();
      const double tolerance = parity.at(key + "_tolerance").get<double>();
      if (!(error <= tolerance))
        out.push_back(stage + ": parity, leg " + static_cast<char>(std::toupper(*leg)) +
                      ": relative error " + core::number(error) + ", tolerance " +
                      core::number(tolerance));
    }
  for (const Json& gate : card.at("gates"))
    if (!gate.at("passed").get<bool>())
      out.push_back(stage + ": gate " + gate.at("gate").get<std::string>() + " " +
                    value_text(gate.at("limit").get<double>()) + ": " +
                    (gate.at("value").is_number() ? value_text(gate["value"].get<double>())
                                                  : "the card has no such value"));
  return out;
}

Json Runner::run() {
  check_outputs();
  check_texts();
  core::make_directory(options_.out);
  // Part of a stage's identity: text reads differently with it.
  const std::optional<std::int32_t> window_bos =
      text::window_bos(checkpoint::Checkpoint::open(recipe_.teacher).tokenizer());
  Json stages = Json::array(), failures = Json::array();
  for (const Stage& stage : recipe_.stages) {
    checkpoint::Manifest manifest = identity_of(
        stage, recipe_, options_, [&](const StageInput& input) { return hash_of(input); });
    if (window_bos && manifest.inputs.contains("text.train"))
      manifest.options[data::kWindowBos] = *window_bos;
    const std::string directory = directory_of(stage.name);
    const bool done = is_done(stage, manifest);
    if (progress_ && !done) progress_({stage.name, 0, 0, "", "starting (" + stage.kind() + ")"});
    if (!done) {
      const auto start = std::chrono::steady_clock::now();
      execute(stage, manifest);
      manifest.metrics["seconds"] =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      manifest.outputs["output"] = output_hash(stage);
      checkpoint::write_manifest(directory, manifest);
    } else {
      manifest = checkpoint::read_manifest(directory);
    }
    hashes_[stage.name] = manifest.outputs.at("output");
    if (stage.kind() == "quantize") deliver(directory + "/model.gguf", delivered(stage));
    if (stage.kind() == "verify") {
      deliver(directory + "/device-card.json", delivered(stage));
      if (!manifest.metrics.at("passed").get<bool>())
        for (const std::string& line : failures_of(
                 stage.name, Json::parse(core::read_text_file(directory + "/device-card.json"))))
          failures.push_back(line);
    }
    if (stage.kind() == "report") deliver(directory + "/report.html", delivered(stage));
    stages.push_back({{"name", stage.name},
                      {"kind", stage.kind()},
                      {"status", done ? "cached" : "done"},
                      {"output", directory},
                      {"metrics", manifest.metrics}});
  }
  return {{"recipe", recipe_.name},
          {"output", options_.out},
          {"passed", failures.empty()},
          {"failures", failures},
          {"stages", stages}};
}

Json run_recipe(const std::string& path, const RunOptions& options,
                const core::Progress& progress) {
  const Recipe recipe = parse_recipe(path);
  const Json plan = plan_recipe(path);  // refuses what cannot work before anything starts
  if (plan.contains("refused_by_run"))
    core::fail(core::ErrorKind::unsupported, plan["refused_by_run"].get<std::string>());
  return Runner(recipe, options, progress).run();
}

}  // namespace espalier::recipe
