// SPDX-License-Identifier: Apache-2.0
// Perplexity of a model on a text, and its divergence from another model.
#include "verify/evaluate.h"

#include <filesystem>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/output.h"
#include "core/units.h"
#include "layerwise/saved.h"
#include "stages/stage.h"
#include "stages/window.h"

namespace espalier::stages {
namespace {

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
         true}};
  }
  std::vector<Output> outputs() const override { return {{Artifact::record, "eval.json"}}; }
  bool deliverable() const override { return true; }
  bool uses_seed() const override { return false; }
  void predict(Forecast& forecast) const override {
    const std::int64_t context =
        window_within(*this, options_.context, forecast, {"from", "against"});
    forecast.window = context;
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
    forecast.set_memory(
        shape, [&] { return verify::peak_memory(models, context, options_.max_windows, 0, {}); });
  }
  Result run(const Context& context) override;

 private:
  verify::EvalOptions options_;
};

Result told(const verify::EvalResult& r, const std::string& against) {
  Result out;
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
  out.told = text.str();
  return out;
}

Result Eval::run(const Context& context) {
  const std::string model = context.path("from"), against = context.path("against");
  std::error_code unreadable;
  ESP_CHECK(options_.engine != verify::Engine::device ||
                !std::filesystem::is_directory(model, unreadable),
            usage, model, ": is a directory, but --engine device reads a .gguf; make one with",
            " 'espalier quantize', or use --engine training");
  options_.threads = context.threads;
  options_.reading = context.reading;
  options_.context = window_within(*this, options_.context, {model, against});
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
  const Result out = told(
      verify::evaluate(model, against, context.path("text"), options_, context.progress), against);
  if (!context.out.empty()) core::write_text_file(context.out, out.metrics.dump(1) + "\n");
  return out;
}

}  // namespace

extern const Kind k_eval;
const Kind k_eval{"eval",
                  "measure perplexity, and the divergence from another model",
                  "espalier eval student --text heldout.txt --against teacher.gguf",
                  make_stage<Eval>,
                  checkpoint::algorithm_version("verify"),
                  {{"perplexity", "of the model"},
                   {"tokens", "tokens that were scored"},
                   {"against_perplexity", "of the reference, where there is one"},
                   {"kl_mean", "mean divergence from the reference, nats per token"},
                   {"kl_p99", "its 99th percentile"},
                   {"same_top1", "share of tokens with the same likeliest next token"}}};

}  // namespace espalier::stages
