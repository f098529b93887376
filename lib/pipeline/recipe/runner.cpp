// SPDX-License-Identifier: Apache-2.0
// Runs the stages of a recipe in order, skips finished stages, and delivers results.
#include "recipe/runner.h"

#include <chrono>
#include <filesystem>

#include "calibrate/sequential_rounding.h"
#include "core/error.h"
#include "core/file.h"
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
  input.resume = fs::exists(input.out);
  const distill::TrainResult r = distill::distill(input, what.options, progress_);
  manifest.metrics = {{"steps", r.steps},
                      {"tokens", r.tokens},
                      {"loss_first", r.loss_first},
                      {"loss_last", r.loss_last},
                      {"tokens_per_second", r.tokens_per_second},
                      {"peak_rss_bytes", r.peak_rss_bytes}};
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
  std::optional<data::Corpus> corpus;
  if (what.rounding != quant::Rounding::nearest) {
    corpus = data::load_corpus(recipe_.train_text, text::Tokenizer(source.tokenizer()), progress_);
    imatrix =
        calibrate::collect_imatrix(source, *corpus, what.calibration, progress_, part("imatrix"));
    options.imatrix = &imatrix;
  }
  for (const auto& [name, hash] : manifest.inputs)
    options.provenance["espalier.lineage." + name + ".sha256"] = hash;
  plan::QuantPlan plan;
  if (!what.format.empty()) {
    plan = plan::quant_plan(source.arch(), source.dims(), what.format, what.overrides);
  } else {
    exporter::BudgetOptions budget;
    budget.target_bytes =
        what.target_bytes ? *what.target_bytes
                          : static_cast<std::int64_t>(fs::file_size(model_of(what.no_larger_than)));
    budget.imatrix = options.imatrix;
    budget.overrides = what.overrides;
    for (const std::string& name : what.candidates)
      budget.candidates.push_back(*format::format_by_name(name));
    budget.threads = options_.threads;
    plan = exporter::plan_for_budget(source, budget, options, progress_);
  }
  core::write_text_file(directory + "/quant-plan.json", plan::to_json(plan));
  std::optional<calibrate::SequentialRounding> sequential;
  if (what.rounding == quant::Rounding::gptq) {
    sequential.emplace(source, plan, imatrix, *corpus, what.calibration, options_.threads,
                       part("rounding"));
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
  const verify::VerifyResult result = verify::verify(model_of(what.of), options, progress_);
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

Json Runner::run() {
  check_texts();
  fs::create_directories(options_.out);
  // Part of a stage's identity: text reads differently with it.
  const std::optional<std::int32_t> window_bos =
      text::window_bos(checkpoint::Checkpoint::open(recipe_.teacher).tokenizer());
  Json stages = Json::array();
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
    if (const auto* q = std::get_if<QuantizeStage>(&stage.what))
      deliver(directory + "/model.gguf", q->deliver);
    if (const auto* v = std::get_if<VerifyStage>(&stage.what)) {
      deliver(directory + "/device-card.json", v->deliver);
      if (!manifest.metrics.at("passed").get<bool>())
        failed_checks_.push_back(stage.name + " (" +
                                 manifest.metrics.at("failures").get<std::string>() + ")");
    }
    if (const auto* r = std::get_if<ReportStage>(&stage.what))
      deliver(directory + "/report.html", r->deliver);
    stages.push_back({{"name", stage.name},
                      {"kind", stage.kind()},
                      {"status", done ? "cached" : "done"},
                      {"output", directory},
                      {"metrics", manifest.metrics}});
  }
  std::string names;
  for (const std::string& name : failed_checks_) names += (names.empty() ? "" : ", ") + name;
  ESP_CHECK(failed_checks_.empty(), check_failed, recipe_.path, ": not passed: ", names,
            "; the card and the report in ", options_.out, " say more");
  return {{"recipe", recipe_.name}, {"output", options_.out}, {"stages", stages}};
}

Json run_recipe(const std::string& path, const RunOptions& options,
                const core::Progress& progress) {
  const Recipe recipe = parse_recipe(path);
  plan_recipe(path);  // refuses what cannot work before anything starts
  return Runner(recipe, options, progress).run();
}

}  // namespace espalier::recipe
