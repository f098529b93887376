// SPDX-License-Identifier: Apache-2.0
// Knowledge distillation from a teacher or its cached logits, or training on the text alone.
#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/notes.h"
#include "core/units.h"
#include "distill/options.h"
#include "distill/trainer.h"
#include "plan/memory.h"
#include "stages/stage.h"

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
    if (cached_ && given.has("teacher"))
      given.refuse("cached",
                   "stands for " + given.spelled("teacher") + "; leave one of the two out");
    if (options_.kl_weight == 0 && (inputs.contains("teacher") || cached_))
      given.refuse_unused("with " + given.spelled("kl_weight") + " 0", {"teacher", "cached"},
                          "leave it out, or give the weight a value above 0");
    if (options_.tokens < 1) given.refuse("tokens", "the number of tokens to train on is missing");
  }
  bool reads(const std::string& key) const override {
    return key != "teacher" || (!cached_ && options_.kl_weight > 0);
  }
  void predict(Forecast& forecast) const override {
    const Shape& student = forecast.model("from");
    const std::int64_t p = student.parameters();
    forecast.require_window("sequence", options_.sequence, {"from", "teacher"});
    forecast.made = {student.arch, student.dims};
    forecast.bytes = p * 4;
    forecast.set_memory(student, [&] {
      return distill::peak_memory(
          *student.arch, student.dims,
          forecast.has("teacher") ? forecast.model("teacher").parameters() : 0, options_);
    });
    forecast.disk = p * 4 * 4;  // the model and the checkpoint with both moments
  }
  nlohmann::ordered_json machine() const override {
    return {{"precision", distill::matmul_precision(options_.precision)}};
  }
  Result run(const Context& context) override;

 private:
  distill::TrainOptions options_;
  bool cached_ = false;
};

void require_memory(const distill::TrainInput& input, const distill::TrainOptions& options,
                    std::int64_t limit) {
  if (limit == 0) return;
  const auto student = checkpoint::Checkpoint::open(input.student);
  std::int64_t of_teacher = 0;
  if (!input.teacher.empty()) {
    const auto source = checkpoint::Checkpoint::open(input.teacher);
    of_teacher = arch::parameters(source.arch(), source.dims());
  }
  plan::require_memory(distill::peak_memory(student.arch(), student.dims(), of_teacher, options),
                       limit, "lower tokens_at_once or the sequence, or use cached logits");
}

Result Distill::run(const Context& context) {
  distill::TrainInput input;
  input.student = context.path("from");
  input.cached = context.path("cached");
  input.teacher = context.path("teacher");
  input.text = context.path("text");
  input.held_out = context.path("held_out");
  input.out = context.out;
  input.resume = context.resume;
  input.threads = context.threads;
  options_.seed = context.seed;
  if (input.teacher.empty() && input.cached.empty() && options_.kl_weight > 0)
    core::note("no teacher and no cached logits are given: the student learns from the text alone");
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
