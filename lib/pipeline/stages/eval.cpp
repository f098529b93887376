// SPDX-License-Identifier: Apache-2.0
// Perplexity of a model on a text, its divergence from another model, and its accuracy on tasks.
#include "verify/evaluate.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/output.h"
#include "core/units.h"
#include "layerwise/saved.h"
#include "stages/stage.h"
#include "stages/tasks.h"
#include "stages/window.h"
#include "verify/measure_tasks.h"

namespace espalier::stages {
namespace {

// One line for each window of the text, beside the result: what intervals are computed from.
constexpr const char* kWindowLosses = "windows.csv";

std::string losses_csv(const std::vector<verify::WindowLoss>& windows) {
  std::string out = "window,tokens,nll,kl,same_top1\n";
  for (std::size_t w = 0; w < windows.size(); ++w) {
    char line[160];
    std::snprintf(line, sizeof line, "%zu,%lld,%.17g,%.17g,%lld\n", w,
                  static_cast<long long>(windows[w].tokens), windows[w].nll, windows[w].kl,
                  static_cast<long long>(windows[w].same_top1));
    out += line;
  }
  return out;
}

class Eval : public Stage {
 public:
  options::List options() override {
    options::List list;
    list.begin_group("what is measured");
    list.add("context", &options_.context, "tokens of a window").between(4, 1 << 20);
    list.add("windows", &options_.max_windows,
             "windows to read at most, spread evenly over the text; 0: all")
        .at_least(0);
    list.add_choice<runtime::Protocol>(
        "protocol", options_.protocol,
        {{"windows", runtime::Protocol::windows}, {"llama.cpp", runtime::Protocol::llama_cpp}},
        "which predictions of a window are scored");
    list.add_choice<verify::Engine>(
        "engine", options_.engine,
        {{"training", verify::Engine::training}, {"device", verify::Engine::device}},
        "what runs the model: LibTorch, or the device runtime, which reads a GGUF");
    return list;
  }
  std::vector<Input> inputs() const override {
    return {
        {"from", "model", "model to measure", {Artifact::model, Artifact::gguf}, "teacher", true},
        {"against",
         "--against",
         "reference, such as the teacher",
         {Artifact::model, Artifact::gguf}},
        {"text",
         "--text",
         "text that was not trained on",
         {Artifact::text},
         "text.held_out",
         false,
         false,
         /*or_none=*/true},
        tasks_input()};
  }
  std::vector<Output> outputs() const override {
    return {{Artifact::record, "eval.json"},
            {Artifact::record, kItems},
            {Artifact::record, kWindowLosses}};
  }
  void check(const options::Given& given, const std::set<std::string>& inputs) override {
    if (inputs.contains("text")) return;
    if (!inputs.contains(kTasks))
      given.refuse("text",
                   "is missing; give a text, tasks (" + given.spelled(kTasks) + "), or both");
    given.refuse_unused("without a text", {"against", "context", "windows", "protocol"},
                        "give a text, or leave them out; items of tasks are read whole");
  }
  bool deliverable() const override { return true; }
  bool uses_seed() const override { return false; }
  void predict(Forecast& forecast) const override {
    const std::int64_t context =
        window_within(*this, "context", options_.context, forecast, {"from", "against"});
    if (forecast.has("text")) forecast.window = context;
    const bool has_tasks = !task_files(forecast).empty();
    const Shape& shape = forecast.model("from");
    const ForecastInput& from = forecast.at("from");
    std::error_code unreadable;
    const bool is_directory = from.path.empty()
                                  ? !shape.file_bytes
                                  : std::filesystem::is_directory(from.path, unreadable);
    ESP_CHECK(options_.engine != verify::Engine::device || !is_directory, usage,
              "engine: device reads a GGUF, and '", from.name,
              "' is a model directory; quantize it first, or use engine training");
    forecast.judged = shape;
    std::vector<verify::ModelSize> models{
        {shape.arch, shape.dims, options_.engine, shape.file_bytes.value_or(0)}};
    if (forecast.has("against"))
      models.push_back({forecast.model("against").arch, forecast.model("against").dims});
    forecast.set_memory(shape, [&] {
      return has_tasks
                 ? verify::peak_memory(models, std::max(context, verify::kForestTokens), 0, 0, {})
                 : verify::peak_memory(models, context, options_.max_windows, 0, {});
    });
  }
  Result run(const Context& context) override;

 private:
  static constexpr const char* kItems = "items.jsonl";  // what was found of each item of tasks
  void measure_text(const Context& context, Result& out);
  void measure_tasks(const Context& context, const std::vector<tasks::Task>& tasks, Result& out);
  verify::EvalOptions options_;
};

void add_told(const verify::EvalResult& r, const std::string& against, Result& out) {
  std::ostringstream text;
  out.metrics = {{"perplexity", r.perplexity}, {"tokens", r.tokens}};
  text << "perplexity " << core::number(r.perplexity) << " over " << r.tokens << " tokens\n";
  if (r.has_divergence) {
    out.metrics["against_perplexity"] = r.against_perplexity;
    out.metrics["kl_mean"] = r.kl_mean;
    out.metrics["kl_p99"] = r.kl_p99;
    out.metrics["same_top1"] = r.same_top1;
    text << "against " << against << " (perplexity " << core::number(r.against_perplexity)
         << "): KL mean " << core::number(r.kl_mean) << ", 99th percentile "
         << core::number(r.kl_p99) << ", same top token " << core::number(100 * r.same_top1)
         << " %\n";
  }
  out.told += text.str();
}

void add_told(const verify::TaskResults& r, Result& out) {
  std::ostringstream text;
  const auto metric = [&](const nlohmann::ordered_json& task, const char* key) {
    if (!task.contains(key)) return;
    text << ", " << key << " " << core::number(task[key].get<double>());
    const std::string error = std::string(key) + "_stderr";
    if (task.contains(error) && task[error].is_number())
      text << " +- " << core::number(task[error].get<double>());
  };
  for (const auto& [name, task] : r.by_name.items()) {
    text << name << " (" << task.at("layout").get<std::string>() << ")";
    for (const char* key : {"acc", "acc_norm", "perplexity"}) metric(task, key);
    text << ", " << task.at("items").get<std::int64_t>() << " items\n";
  }
  out.metrics["accuracy"] = r.accuracy;
  if (r.accuracy_norm) out.metrics["accuracy_norm"] = *r.accuracy_norm;
  out.metrics["items"] = r.items;
  out.metrics["tasks"] = r.by_name;
  out.told += text.str();
}

Result Eval::run(const Context& context) {
  const std::string model = context.path("from");
  std::error_code unreadable;
  ESP_CHECK(options_.engine != verify::Engine::device ||
                !std::filesystem::is_directory(model, unreadable),
            usage, model, ": is a directory, but --engine device reads a .gguf; make one with",
            " 'espalier quantize', or use --engine training");
  const std::vector<tasks::Task> tasks = tasks::read_tasks(task_files(context));
  ESP_CHECK(!tasks.empty() || !context.beside.contains(kItems), usage,
            "--items: no effect without --task; give a task, or leave it out");
  Result out;
  if (!context.path("text").empty()) measure_text(context, out);
  if (!tasks.empty()) measure_tasks(context, tasks, out);
  if (!context.out.empty()) core::write_text_file(context.out, out.metrics.dump(1) + "\n");
  return out;
}

void Eval::measure_text(const Context& context, Result& out) {
  const std::string model = context.path("from"), against = context.path("against");
  options_.threads = context.threads;
  options_.reading = context.reading;
  options_.reference_folder = context.reference_folder;
  options_.context = window_within(*this, "context", options_.context, {model, against});
  const std::vector<verify::EvalModel> models{{model, options_.engine}};
  options_.memory = verify::budget_within(context.max_ram, verify::sizes_of(models, against),
                                          options_.context, 0);
  std::optional<checkpoint::WorkFolder> work;
  if (!context.work.empty()) {
    work.emplace(context.part(""),
                 verify::evaluation_identity(models, against, context.path("text"), options_));
    layerwise::begin(*work);
    work->start();
    options_.work = &*work;
  }
  const verify::EvalResult measured =
      verify::evaluate(model, against, context.path("text"), options_, context.progress);
  options_.work = nullptr;
  add_told(measured, against, out);
  if (const std::string path = context.path_beside(kWindowLosses); !path.empty())
    core::write_text_file(path, losses_csv(measured.windows));
}

void Eval::measure_tasks(const Context& context, const std::vector<tasks::Task>& tasks,
                         Result& out) {
  const verify::EvalModel model{context.path("from"), options_.engine};
  const verify::MemoryBudget memory = verify::budget_within(
      context.max_ram, verify::sizes_of({model}, ""), verify::kForestTokens, 0);
  const verify::TaskResults found = verify::measure_tasks(
      model, tasks, {.threads = context.threads, .memory = memory}, context.progress);
  add_told(found, out);
  if (const std::string path = context.path_beside(kItems); !path.empty())
    core::write_text_file(path, found.lines);
}

}  // namespace

extern const Kind k_eval;
const Kind k_eval{"eval",
                  "measure perplexity, the divergence from another model, and accuracy on tasks",
                  "espalier eval student --text heldout.txt --against teacher.gguf",
                  make_stage<Eval>,
                  checkpoint::algorithm_version("verify"),
                  {{"perplexity", "of the model"},
                   {"tokens", "tokens that were scored"},
                   {"against_perplexity", "of the reference, where there is one"},
                   {"kl_mean", "mean divergence from the reference, nats per token"},
                   {"kl_p99", "its 99th percentile"},
                   {"same_top1", "share of tokens with the same likeliest next token"},
                   {"accuracy", "mean of `acc` over the tasks"},
                   {"accuracy_norm", "mean of `acc_norm` over the tasks of several choices"},
                   {"items", "items of all tasks"},
                   {"tasks",
                    "of each task, by its name: `layout`, `items`, `acc`, `acc_norm`, "
                    "`acc_bytes`, each with `_stderr`, `perplexity` of a cloze, and how "
                    "many items were `truncated`"}}};

}  // namespace espalier::stages
