// SPDX-License-Identifier: Apache-2.0
// Knowledge distillation from a teacher or its cached logits, or training on the text alone.
#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/notes.h"
#include "core/units.h"
#include "distill/options.h"
#include "distill/trainer.h"
#include "model/device_memory.h"
#include "model/precision.h"
#include "plan/memory.h"
#include "stages/stage.h"
#include "stages/window.h"
#include "stages/work.h"

namespace espalier::stages {
namespace {

class Distill : public Stage {
 public:
  options::List options() override { return distill::describe(options_); }
  std::vector<Input> inputs() const override {
    return {
        {"from", "--student", "student to start from", {Artifact::model, Artifact::gguf}, "", true},
        {"teacher",
         "--teacher",
         "teacher; without one the student learns from the text alone",
         {Artifact::model, Artifact::gguf},
         "teacher",
         false,
         false,
         true},
        {"cached",
         "--cached",
         "instead of a teacher: its logits, as 'cache' writes them",
         {Artifact::logits}},
        {"text", "--text", "training text", {Artifact::text}, "text.train", true},
        {"held_out",
         "--held-out",
         "text that must not occur in the training text",
         {Artifact::text},
         "text.held_out"}};
  }
  std::vector<Output> outputs() const override {
    return {{Artifact::model, "model"}, {Artifact::curve, "model/metrics.jsonl"}};
  }
  void check(const options::Given& given, const std::set<std::string>& inputs) override {
    cached_ = inputs.contains("cached");
    if (cached_ && given.has("teacher") && inputs.contains("teacher"))
      given.refuse("cached",
                   "stands for " + given.spelled("teacher") + "; leave one of the two out");
    if (!options_.terms.empty())
      given.refuse_unused("beside " + given.spelled("terms") + ", which name the whole objective",
                          {"loss", "kl_weight", "ce_weight"}, "leave one of the two out");
    try {
      reads_teacher_ = distill::reads_teacher(options_);
    } catch (const core::Error& e) {
      given.refuse(options_.terms.empty() ? "loss" : "terms", e.what());
    }
    if (!reads_teacher_ && (inputs.contains("teacher") || cached_))
      given.refuse_unused(options_.terms.empty() ? "with " + given.spelled("kl_weight") + " 0"
                                                 : "with terms that read no teacher",
                          {"teacher", "cached"},
                          "leave it out, or add a term that compares with it");
    if (options_.tokens < 1) given.refuse("tokens", "the number of tokens to train on is missing");
    try {
      distill::check_schedule(options_);
    } catch (const core::Error& e) {
      given.refuse("final_learning_rate_ratio", e.what());
    }
  }
  bool knows_devices() const override { return true; }
  bool reads(const std::string& key) const override {
    return key != "teacher" || (!cached_ && reads_teacher_);
  }
  void predict(Forecast& forecast) const override {
    const Shape& student = forecast.model("from");
    const std::int64_t p = student.parameters();
    distill::TrainOptions options = options_;
    options.sequence =
        window_within(*this, "sequence", options.sequence, forecast, {"from", "teacher"});
    forecast.window = options.sequence;
    if (cached_) require_cached(options, forecast.at("cached"));
    forecast.made = {student.arch, student.dims};
    forecast.bytes = p * 4;
    forecast.set_memory(student, [&] {
      const Shape* teacher = forecast.has("teacher") ? &forecast.model("teacher") : nullptr;
      return distill::peak_memory(*student.arch, student.dims,
                                  teacher != nullptr ? teacher->parameters() : 0, options,
                                  teacher != nullptr ? teacher->dims.hidden : 0);
    });
    if (student.computed()) forecast.device_memory = device_memory(options, forecast);
    forecast.disk = p * 4 * 4;  // the model and the checkpoint with both moments
    forecast.work = work(options, forecast);
  }
  nlohmann::ordered_json machine() const override {
    return {{"precision", model::matmul_precision(options_.precision)}};
  }
  Result run(const Context& context) override;

 private:
  // What a cache that an earlier stage will make does not give.
  static void require_cached(const distill::TrainOptions& options, const ForecastInput& cached) {
    if (!cached.made.sequence) return;
    ESP_CHECK(*cached.made.sequence == options.sequence, usage, "sequence ", options.sequence,
              ": '", cached.name, "' caches windows of ", *cached.made.sequence,
              " tokens; give both the same");
    ESP_CHECK(cached.made.temperature == options.temperature, usage, "temperature ",
              options.temperature, ": '", cached.name, "' caches temperature ",
              cached.made.temperature, "; give both the same");
    distill::require_cacheable(options, cached.name, *cached.made.top_k);
  }
  static timing::Work work(const distill::TrainOptions& options, const Forecast& forecast) {
    const std::int64_t per_step = options.batch * options.accumulation * options.sequence;
    timing::DistillWork out;
    const timing::Stored teacher =
        forecast.has("teacher") ? stored(forecast.model("teacher")) : timing::Stored{};
    if (forecast.has("teacher")) out.teacher = &teacher;
    out.student = stored(forecast.model("from"));
    out.steps = (options.tokens + per_step - 1) / per_step;
    out.tokens_per_step = per_step;
    out.sequence = options.sequence;
    out.windows_at_once = distill::windows_at_once(options);
    out.checkpoints = out.steps / options.checkpoint_every;
    out.trains_embeddings = options.train_embeddings;
    out.bf16 = model::matmul_precision(options.precision) == "bfloat16";
    return timing::work_of(out, forecast.machine);
  }
  static std::function<std::int64_t()> device_memory(const distill::TrainOptions& options,
                                                     const Forecast& forecast) {
    const model::StepSize step{distill::windows_at_once(options), options.sequence,
                               model::matmul_precision(options.precision) == "bfloat16"
                                   ? torch::kBFloat16
                                   : torch::kFloat32};
    std::optional<Shape> teacher;
    if (forecast.has("teacher") && forecast.model("teacher").computed())
      teacher = forecast.model("teacher");
    return [step, teacher, student = forecast.model("from")] {
      std::optional<model::ModelSize> of_teacher;
      if (teacher) of_teacher.emplace(model::ModelSize{*teacher->arch, teacher->dims});
      return model::device_memory({*student.arch, student.dims}, of_teacher, step).total();
    };
  }
  distill::TrainOptions options_;
  bool cached_ = false, reads_teacher_ = true;
};

void require_memory(const distill::TrainInput& input, const distill::TrainOptions& options,
                    std::int64_t limit) {
  if (limit == 0) return;
  const auto student = checkpoint::Checkpoint::open(input.student);
  std::int64_t of_teacher = 0, hidden = 0;
  if (!input.teacher.empty()) {
    const auto source = checkpoint::Checkpoint::open(input.teacher);
    of_teacher = arch::parameters(source.arch(), source.dims());
    hidden = source.dims().hidden;
  }
  plan::require_memory(
      distill::peak_memory(student.arch(), student.dims(), of_teacher, options, hidden), limit,
      "lower tokens_at_once or the sequence, or use cached logits");
}

Result Distill::run(const Context& context) {
  distill::TrainInput input;
  input.student = context.path("from");
  input.cached = context.path("cached");
  input.teacher = context.path("teacher");
  input.text = context.path("text");
  input.held_out = context.path("held_out");
  input.reading = context.reading;
  input.out = context.out;
  input.resume = context.resume;
  input.or_start_over = context.or_start_over;
  input.threads = context.threads;
  options_.seed = context.seed;
  if (input.teacher.empty() && input.cached.empty() && reads_teacher_)
    core::note("no teacher and no cached logits are given: the student learns from the text alone");
  options_.sequence =
      window_within(*this, "sequence", options_.sequence, {input.student, input.teacher});
  require_memory(input, options_, context.max_ram);
  const distill::TrainResult r = distill::distill(input, options_, context.progress);
  return {{{"steps", r.steps},
           {"tokens", r.tokens},
           {"loss_first", r.loss_first},
           {"loss_last", r.loss_last},
           {"tokens_per_second", r.tokens_per_second},
           {"peak_rss_bytes", r.peak_rss_bytes}},
          context.out + ": " + std::to_string(r.steps) + " steps, " + core::human_count(r.tokens) +
              " tokens, loss " + core::number(r.loss_first) + " -> " + core::number(r.loss_last) +
              ", " + core::number(r.tokens_per_second) + " tokens/s\n"};
}

}  // namespace

extern const Kind k_distill;
const Kind k_distill{
    "distill",
    "train a student by knowledge distillation",
    "espalier distill --teacher teacher.gguf --student pruned --text train.txt --tokens 1M --out "
    "student",
    make_stage<Distill>,
    checkpoint::algorithm_version("distill"),
    {{"steps", "optimizer steps"},
     {"tokens", "tokens that were trained on"},
     {"loss_first", "loss of the first step, per token"},
     {"loss_last", "loss of the last step, per token"},
     {"tokens_per_second", "median over the steps"}}};

}  // namespace espalier::stages
