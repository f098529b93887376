// SPDX-License-Identifier: Apache-2.0
// Makes the device card: parity, then the quality of all models in one pass, then the child
// benchmark (after the training side is released), then the gates.
#include "verify/verify.h"

#include <cmath>
#include <filesystem>
#include <optional>
#include <sstream>

#include "arch/positions.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "core/duration.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/units.h"
#include "data/corpus.h"
#include "format/json_input.h"
#include "hash/sha256.h"
#include "layerwise/saved.h"
#include "tasks/score.h"
#include "verify/child_bench.h"
#include "verify/gates.h"
#include "verify/measure_tasks.h"
#include "verify/parity.h"

namespace espalier::verify {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kParity = "parity.json";  // in the working folder

std::int64_t bytes_of(const std::string& path) {
  return static_cast<std::int64_t>(checkpoint::Checkpoint::open(path).file_bytes());
}
std::int64_t parameters_of(const std::string& path) {
  const auto source = checkpoint::Checkpoint::open(path);
  return arch::parameters(source.arch(), source.dims());
}

// Counts in tenths of a decade from 1e-6 to 1e2 nats. Smaller values go into the first bin.
Json kl_histogram(const std::vector<float>& kl) {
  constexpr int kBins = 40;
  std::vector<std::int64_t> counts(kBins, 0);
  Json edges = Json::array();
  for (int i = 0; i <= kBins; ++i) edges.push_back(std::pow(10.0, -6.0 + 8.0 * i / kBins));
  for (float v : kl) {
    double position = (std::log10(std::max(static_cast<double>(v), 1e-6)) + 6.0) / 8.0 * kBins;
    if (!(position <= kBins - 1)) position = kBins - 1;  // also what is not finite
    counts[static_cast<std::size_t>(std::max(position, 0.0))]++;
  }
  return {{"edges", edges}, {"counts", counts}};
}

Json row(const std::string& name, const std::string& path, const EvalResult& r) {
  const std::int64_t bytes = bytes_of(path);
  return {{"name", name},
          {"parameters", parameters_of(path)},
          {"file_bytes", bytes},
          {"is_gguf", path.ends_with(".gguf")},
          {"perplexity", r.perplexity},
          {"perplexity_ratio", r.perplexity / r.against_perplexity},
          {"kl_mean", r.kl_mean},
          {"kl_p99", r.kl_p99},
          {"same_top1", r.same_top1}};
}

// The file first, then the float student where there is one, then the baselines.
std::vector<EvalModel> models_of(const std::string& gguf, const VerifyOptions& options) {
  std::vector<EvalModel> models{{gguf, Engine::device}};
  if (!options.student.empty()) models.push_back({options.student, Engine::training});
  for (const Compared& c : options.compare)
    models.push_back({c.path, c.path.ends_with(".gguf") ? Engine::device : Engine::training});
  return models;
}

void require_gguf(const std::string& path) {
  ESP_CHECK(checkpoint::Checkpoint::open(path, false).is_gguf(), usage, path,
            ": verify takes a .gguf, as `espalier quantize` writes it");
}

// What the headers say.
Json sizes_card(const std::string& gguf, const VerifyOptions& options) {
  const auto file = checkpoint::Checkpoint::open(gguf);
  arch::require_positions(file.dims(), options.context, "--context", gguf);
  const std::int64_t parameters = arch::parameters(file.arch(), file.dims());
  const std::int64_t teacher_parameters = parameters_of(options.teacher);
  std::int64_t matrix_bytes = 0;
  for (const arch::TensorRef& t : arch::tensors(file.arch(), file.dims()))
    matrix_bytes += t.is_vector ? t.elements() * 4
                                : format::matrix_bytes(file.stored_format(t.spec->role, t.layer),
                                                       t.rows, t.cols);
  return {{"file", std::filesystem::path(gguf).filename().string()},
          {"sha256", hash::sha256_parts(gguf)},
          {"file_bytes", file.file_bytes()},
          {"bits_per_weight",
           8.0 * static_cast<double>(matrix_bytes) / static_cast<double>(parameters)},
          {"architecture", file.arch().name},
          {"parameters", parameters},
          {"teacher_parameters", teacher_parameters},
          {"parameters_ratio",
           static_cast<double>(parameters) / static_cast<double>(teacher_parameters)},
          {"teacher_file_bytes", bytes_of(options.teacher)},
          {"context", options.context}};
}

// Measured, or read where an earlier run has left it.
Json parity_card(const std::string& gguf, const VerifyOptions& options, std::int64_t tokens,
                 const EvalOptions& eval, const core::Progress& progress) {
  checkpoint::WorkFolder* work = eval.work;
  if (work != nullptr && work->has(kParity))
    return format::parse_json<Json>(core::read_text_file(work->file(kParity)), work->file(kParity));
  if (progress) progress({"parity", 0, 0, "", "legs A and B"});
  const Parity p = parity(gguf, text::read_documents(options.text_path), tokens, options.threads,
                          eval.memory, options.reading);
  Json card = {{"tokens", p.tokens},
               {"leg_a_relative_error", p.leg_a},
               {"leg_a_tolerance", p.leg_a_tolerance},
               {"leg_b_relative_error", p.leg_b},
               {"leg_b_tolerance", p.leg_b_tolerance},
               {"isa", p.isa},
               {"passed", p.passed()}};
  if (work != nullptr && std::isfinite(p.leg_a) && std::isfinite(p.leg_b))  // JSON has no others
    work->save([&] { core::write_text_file(work->file(kParity), card.dump()); });
  return card;
}

// `results` in the order of models_of().
void add_quality(const VerifyOptions& options, const std::vector<EvalResult>& results, Json& card) {
  const EvalResult& file = results.front();
  card["tokens"] = file.tokens;
  card["teacher_perplexity"] = file.against_perplexity;
  if (!options.student.empty()) {
    card["student_perplexity"] = results[1].perplexity;
    card["student_kl_mean"] = results[1].kl_mean;
  } else {
    card["student_perplexity"] = nullptr;
  }
  card["perplexity"] = file.perplexity;
  card["perplexity_ratio"] = file.perplexity / file.against_perplexity;
  card["kl_mean"] = file.kl_mean;
  card["kl_p99"] = file.kl_p99;
  card["same_top1"] = file.same_top1;
  card["kl_histogram"] = kl_histogram(file.kl_per_token);
  card["baselines"] = Json::array();
  std::int64_t beaten = 0;
  for (std::size_t i = 0; i < options.compare.size(); ++i) {
    const EvalResult& r = results[results.size() - options.compare.size() + i];
    card["baselines"].push_back(row(options.compare[i].name, options.compare[i].path, r));
    card["baselines"].back()["beaten"] = file.perplexity < r.perplexity;
    beaten += file.perplexity < r.perplexity;
  }
  card["beats_baselines"] = beaten;
}

// Of the file, beside the same of the teacher.
void add_tasks(const std::string& gguf, const VerifyOptions& options, const EvalOptions& eval,
               const std::vector<tasks::Task>& tasks, const core::Progress& progress, Json& card) {
  if (tasks.empty()) return;
  const TaskOptions how{.threads = options.threads, .memory = eval.memory};
  card["tasks"] = measure_tasks({gguf, Engine::device}, tasks, how, progress).by_name;
  const Json teacher =
      measure_tasks({options.teacher, Engine::training}, tasks, how, progress).by_name;
  for (const auto& [name, of] : teacher.items())
    for (const std::string& metric : tasks::gate_metrics())
      if (of.contains(metric)) card["tasks"][name]["teacher_" + metric] = of[metric];
}

// Of a file that the memory holds.
void add_speed(const std::string& gguf, const VerifyOptions& options, const EvalOptions& eval,
               const core::Progress& progress, Json& card) {
  if (!eval.memory.device_whole) {
    core::note(gguf + ": speed was not measured, because --max-ram " +
               core::human_bytes(options.max_ram) + " does not hold all weights at once");
    return;
  }
  if (progress) progress({"bench", 0, 0, "", "speed and memory in a child process"});
  const Json speed = child_bench(options.bench_program, gguf, options.threads);
  for (const char* key :
       {"prefill_tokens_per_second", "decode_tokens_per_second", "weight_bytes_per_token",
        "read_gb_per_second", "peak_rss_bytes", "isa", "threads"})
    if (speed.contains(key)) card[key] = speed[key];
  card["cpu"] = cpu_name();
}

}  // namespace

VerifyResult verify(const std::string& gguf, const VerifyOptions& options,
                    const core::Progress& progress) {
  const std::vector<EvalModel> models = models_of(gguf, options);
  const std::vector<tasks::Task> tasks = tasks::read_tasks(options.tasks);
  const std::int64_t parity_tokens = std::min(options.context, kParityTokens),
                     at_once =
                         tasks.empty() ? options.context : std::max(options.context, kForestTokens);
  EvalOptions eval{.context = options.context,
                   .protocol = runtime::Protocol::windows,
                   .max_windows = options.max_windows,
                   .engine = Engine::device,
                   .threads = options.threads,
                   .memory = budget_within(options.max_ram, sizes_of(models, options.teacher),
                                           at_once, parity_tokens),
                   .reading = options.reading};
  require_gguf(gguf);
  std::optional<checkpoint::WorkFolder> work;
  if (!options.work.folder.empty()) {
    work.emplace(options.work,
                 evaluation_identity(models, options.teacher, options.text_path, eval));
    layerwise::begin(*work);
    work->start();
    eval.work = &*work;
  }

  const std::vector<runtime::PerplexityWindow> windows =  // before anything is computed
      read_windows(models, options.teacher, options.text_path, eval, progress);
  VerifyResult result;
  Json& card = result.card;
  card = sizes_card(gguf, options);
  card["parity"] = parity_card(gguf, options, parity_tokens, eval, progress);
  result.parity = card["parity"].at("passed").get<bool>();
  add_quality(options, evaluate_all(models, options.teacher, windows, eval, progress), card);
  add_tasks(gguf, options, eval, tasks, progress, card);
  card["text_sha256"] = data::text_sha256(options.text_path);
  if (options.with_speed) add_speed(gguf, options, eval, progress, card);
  card["kv_bytes_per_token"] = arch::kv_bytes_per_token(checkpoint::Checkpoint::open(gguf).dims());
  card["lineage"] = options.lineage;
  card["tool_version"] = checkpoint::tool_version();
  bool all_passed = true;
  card["gates"] = check_gates(options.gates, card, all_passed);
  result.gates = card["gates"].empty() ? Gates::none : all_passed ? Gates::passed : Gates::failed;
  card["verdict"] = {{"gates", gates_name(result.gates)},
                     {"parity", result.parity ? "passed" : "failed"}};
  card["passed"] = result.passed();
  return result;
}

const char* gates_name(Gates gates) {
  return gates == Gates::none ? "none" : gates == Gates::passed ? "passed" : "failed";
}

std::string VerifyResult::failures() const {
  std::string out = parity ? "" : "parity failed";
  if (gates == Gates::failed) {
    std::int64_t failed = 0;
    for (const auto& g : card.at("gates")) failed += !g.at("passed").get<bool>();
    out += (out.empty() ? "" : ", ") + std::to_string(failed) + " of " +
           std::to_string(card["gates"].size()) + " gates failed";
  }
  return out;
}

// "  task        arc: acc 0.4 (teacher 0.5), acc_norm 0.45 (teacher 0.5), 100 items"
static std::string readable_tasks(const Json& card) {
  std::ostringstream out;
  const Json tasks = card.value("tasks", Json::object());
  for (const auto& [name, task] : tasks.items()) {
    out << "  task        " << name << ":";
    for (const std::string& metric : tasks::gate_metrics())
      if (task.contains(metric) && metric != "acc_bytes")
        out << " " << metric << " " << core::number(task[metric].get<double>()) << " (teacher "
            << core::number(task.at("teacher_" + metric).get<double>()) << "),";
    out << " " << task.at("items").get<std::int64_t>() << " items\n";
  }
  return out.str();
}

std::string readable_card(const Json& card) {
  std::ostringstream out;
  const auto real = [&](const char* key) { return core::number(card.value(key, std::nan(""))); };
  const auto fixed = [&](double v, int digits) {
    char text[48];
    std::snprintf(text, sizeof text, "%.*f", digits, v);
    return std::string(text);
  };
  out << card.at("file").get<std::string>() << "  "
      << core::human_bytes(card.at("file_bytes").get<std::int64_t>()) << ", "
      << fixed(card.at("bits_per_weight").get<double>(), 2) << " bits per weight, "
      << core::human_count(card.at("parameters").get<std::int64_t>()) << " parameters ("
      << fixed(100 * card.at("parameters_ratio").get<double>(), 1) << " % of the teacher's)\n"
      << "  sha256      " << card.at("sha256").get<std::string>() << "\n"
      << "  perplexity  " << fixed(card.at("perplexity").get<double>(), 3) << " over "
      << core::human_count(card.at("tokens").get<std::int64_t>()) << " tokens (teacher "
      << fixed(card.at("teacher_perplexity").get<double>(), 3) << ", ratio "
      << fixed(card.at("perplexity_ratio").get<double>(), 3);
  if (card.at("student_perplexity").is_number())
    out << "; float student " << fixed(card["student_perplexity"].get<double>(), 3);
  out << ")\n  divergence  KL mean " << fixed(card.at("kl_mean").get<double>(), 4)
      << ", 99th percentile " << fixed(card.at("kl_p99").get<double>(), 3) << ", same top token "
      << fixed(100 * card.at("same_top1").get<double>(), 1) << " %\n";
  for (const auto& b : card.at("baselines"))
    out << "  against     " << b.at("name").get<std::string>() << ": "
        << core::human_bytes(b.at("file_bytes").get<std::int64_t>()) << ", perplexity "
        << fixed(b.at("perplexity").get<double>(), 3)
        << (b.at("beaten").get<bool>() ? "  (beaten)\n" : "  (NOT beaten)\n");
  out << readable_tasks(card);
  if (card.contains("decode_tokens_per_second"))
    out << "  speed       prefill " << fixed(card["prefill_tokens_per_second"].get<double>(), 0)
        << " tokens/s, decode " << fixed(card["decode_tokens_per_second"].get<double>(), 1)
        << " tokens/s, " << real("read_gb_per_second") << " GB/s read, peak RSS "
        << core::human_bytes(card["peak_rss_bytes"].get<std::int64_t>()) << "\n  machine     "
        << card.value("cpu", "") << ", " << card.value("isa", "") << "\n";
  const auto& parity = card.at("parity");
  out << "  parity      leg A " << core::number(parity.at("leg_a_relative_error").get<double>())
      << " (tolerance " << core::number(parity.at("leg_a_tolerance").get<double>()) << "), leg B "
      << core::number(parity.at("leg_b_relative_error").get<double>()) << " (tolerance "
      << core::number(parity.at("leg_b_tolerance").get<double>()) << ")\n";
  for (const auto& g : card.at("gates")) {
    const std::string gate = g.at("gate").get<std::string>();
    const double limit = g.at("limit").get<double>();
    core::HumanPair texts{"unknown", core::human_value(gate, limit)};
    if (g.at("value").is_number())
      texts = core::human_values(gate, g["value"].get<double>(), limit);
    out << "  gate        " << gate << " " << texts.limit << ": " << texts.value
        << (g.at("passed").get<bool>() ? "  passed\n" : "  FAILED\n");
  }
  const std::string gates = card.at("verdict").at("gates").get<std::string>();
  out << "  verdict     parity " << (card["verdict"].at("parity") == "passed" ? "passed" : "FAILED")
      << "; "
      << (gates == "none"     ? "no gates set"
          : gates == "passed" ? "all gates passed"
                              : "a gate FAILED")
      << "\n";
  return out.str();
}

}  // namespace espalier::verify
