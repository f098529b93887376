// SPDX-License-Identifier: Apache-2.0
// The training loop. A step sums losses and gradients over its passes. The optimizer's pass divides
// once, by the number of scored tokens. A step is a pure function of (parameters, moments, step),
// which is what a checkpoint holds.
#include "distill/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/profile.h"
#include "core/units.h"
#include "distill/adamw.h"
#include "distill/metrics.h"
#include "distill/parameters.h"
#include "distill/planned_terms.h"
#include "distill/schedule.h"
#include "distill/setup.h"
#include "hash/sha256.h"
#include "layerwise/saved.h"
#include "model/allocation.h"
#include "model/device.h"
#include "objective/objective.h"

namespace espalier::distill {
namespace {

namespace fs = std::filesystem;
using model::Transformer;
using torch::Tensor;
using Clock = std::chrono::steady_clock;

constexpr const char* kState = "state.safetensors";

// Windows as the models read them (text/windows.h). A target is the next token of the text, or -1
// at its very end.
objective::Batch make_batch(const data::Corpus& corpus, const std::vector<std::int64_t>& starts,
                            std::int64_t sequence) {
  const auto batch = static_cast<std::int64_t>(starts.size());
  objective::Batch out{torch::empty({batch, sequence}, torch::kInt64),
                       torch::empty({batch, sequence}, torch::kInt64),
                       {}};
  auto* ids = out.ids.mutable_data_ptr<std::int64_t>();
  auto* targets = out.targets.mutable_data_ptr<std::int64_t>();
  const auto n = static_cast<std::int64_t>(corpus.tokens.size());
  for (const std::int64_t start : starts) {
    corpus.read_window(start, std::span(ids, static_cast<std::size_t>(sequence)));
    ids += sequence;
    for (std::int64_t i = start + 1; i <= start + sequence; ++i)
      *targets++ = i < n ? corpus.tokens[static_cast<std::size_t>(i)] : -1;
  }
  return out;
}

objective::SparseLogits cached_logits(const LogitCache& cached,
                                      const std::vector<std::int64_t>& starts) {
  std::vector<Tensor> ids, values, rest;
  for (const std::int64_t start : starts) {
    const objective::SparseLogits window = cached.window(start);
    ids.push_back(window.ids);
    values.push_back(window.log_probabilities);
    rest.push_back(window.rest);
  }
  return {torch::cat(ids), torch::cat(values), torch::cat(rest)};
}

struct TrainState {
  std::int64_t step = 0;            // number of completed optimizer steps
  std::uint64_t metrics_bytes = 0;  // length of metrics.jsonl at that step
  double loss_first = 0, loss_last = 0;
};

// checkpoint/state.safetensors holds the state after some step. The sampler needs none, because its
// windows are a pure function of the step.
class Run {
 public:
  Run(const TrainOptions& options, const Setup& setup, const std::string& out,
      checkpoint::WorkFolder& work)
      : options_(options),
        setup_(setup),
        out_(out),
        work_(work),
        sampler_(static_cast<std::int64_t>(setup.corpus.tokens.size()), options.sequence,
                 options.seed),
        student_(Transformer::load(setup.student_source, {.trainable = true,
                                                          .matmul_dtype = setup.matmul_dtype,
                                                          .device = model::training_device()})),
        objective_(setup.terms, setup.settings, student_.dims(),
                   setup.teacher_source ? &setup.teacher_source->dims() : nullptr),
        parameters_(student_, options.train_embeddings, options.weight_decay, objective_.extras()) {
    if (setup.teacher_source)
      teacher_.emplace(Transformer::load(
          *setup.teacher_source,
          {.matmul_dtype = setup.matmul_dtype, .device = model::training_device()}));
    if (work.has(kState)) work.load([this] { load(); });
  }

  void train(const core::Progress& progress) {
    MetricsLog log(out_ + "/metrics.jsonl", state_.metrics_bytes);
    while (state_.step < setup_.steps) {
      const auto step_begin = Clock::now();
      StepMetrics m = step();
      const double seconds = std::chrono::duration<double>(Clock::now() - step_begin).count();
      m.tokens_per_second = static_cast<double>(setup_.tokens_per_step) / std::max(seconds, 1e-9);
      log.write(m);
      state_.metrics_bytes = log.bytes();
      if (state_.step % options_.checkpoint_every == 0 && state_.step < setup_.steps) save();
      if (progress) report(progress, m);
    }
  }

  const TrainState& state() const { return state_; }
  // Frees what only training needs, because saving takes memory too.
  const Transformer& trained() {
    teacher_.reset();
    objective_.release();
    return student_;
  }

 private:
  void save() {
    work_.start();
    layerwise::write_saved(work_.file(kState), {{{"step", state_.step},
                                                 {"metrics_bytes", state_.metrics_bytes},
                                                 {"loss_first", state_.loss_first},
                                                 {"loss_last", state_.loss_last}},
                                                parameters_.state()});
  }
  void load() {
    const layerwise::Saved saved =
        layerwise::read_saved(work_.file(kState), {.tensors = parameters_.state()});
    parameters_.set_state(saved.tensors);
    const nlohmann::json& about = saved.about;
    state_ = {about.at("step"), about.at("metrics_bytes"), about.at("loss_first"),
              about.at("loss_last")};
  }

  // Adds the gradients of some windows. Returns their sums.
  objective::Sums accumulate(std::int64_t first_window, std::int64_t windows) {
    std::vector<std::int64_t> starts;
    for (std::int64_t w = 0; w < windows; ++w) {
      const std::int64_t start = sampler_.start_from_end(first_window + w);
      starts.push_back(setup_.cached ? setup_.cached->on_grid(start) : start);
    }
    objective::Batch batch = make_batch(setup_.corpus, starts, options_.sequence);
    if (setup_.cached) batch.cached = cached_logits(*setup_.cached, starts);
    return objective_.accumulate({student_, teacher_ ? &*teacher_ : nullptr}, batch, done());
  }

  // 0 at the first step, 1 at the last.
  double done() const {
    return static_cast<double>(state_.step) /
           static_cast<double>(std::max<std::int64_t>(1, setup_.steps - 1));
  }

  StepMetrics step() {
    objective::Sums sum;
    const std::int64_t number = state_.step + 1;
    const std::int64_t windows = options_.batch * options_.accumulation,
                       at_once = windows_at_once(options_);
    for (std::int64_t w = 0; w < windows; w += at_once)
      sum.add(accumulate(state_.step * windows + w, std::min(at_once, windows - w)));
    const double tokens = static_cast<double>(sum.tokens);
    const double rate = learning_rate(
        schedule_by_name(options_.schedule), state_.step, setup_.steps,
        {options_.learning_rate, options_.warmup_ratio, options_.final_learning_rate_ratio});
    ESP_CHECK(std::isfinite(sum.loss), check_failed, "step ", number,
              ": the loss is not finite (learning rate ", rate, ", last loss ", state_.loss_last,
              "); lower the learning rate or check the models' weights");
    const double length = euclidean_norm(parameters_.gradients()) / tokens;
    ESP_CHECK(std::isfinite(length), check_failed, "step ", number,
              ": the gradient is not finite (learning rate ", rate, ", loss ", sum.loss / tokens,
              "); lower the learning rate or check the models' weights");
    // Adam would scale rounding errors up to full steps.
    ESP_CHECK(length > 1e-6 * objective_.weight(done()) || state_.step > 0, check_failed, "step ",
              number, ": the gradient vanishes (norm ", length,
              "): the student cannot be trained this way (it equals its teacher, or nothing in it "
              "is trainable)");
    const double clip =
        options_.clip_norm > 0 ? std::min(1.0, options_.clip_norm / (length + 1e-6)) : 1.0;
    const core::Section section("optimizer");
    adamw_step({options_.beta1, options_.beta2, options_.epsilon}, {number, rate, clip / tokens},
               parameters_.segments(), parameters_.buffers());
    state_.step = number;
    state_.loss_last = sum.loss / tokens;
    if (number == 1) state_.loss_first = state_.loss_last;
    StepMetrics m{.step = number,
                  .tokens = number * setup_.tokens_per_step,
                  .loss = state_.loss_last,
                  .learning_rate = rate,
                  .grad_norm = length};
    for (std::size_t t = 0; t < sum.terms.size(); ++t)
      m.terms.emplace_back(setup_.terms[t].label, sum.terms[t] / tokens);
    return m;
  }

  void report(const core::Progress& progress, const StepMetrics& m) const {
    const auto text = [](const char* format, double value) {
      char out[64];
      std::snprintf(out, sizeof out, format, value);
      return std::string(out);
    };
    std::string detail = text("loss %.4f", m.loss);
    for (const auto& [name, value] : m.terms) detail += "  " + name + text(" %.4f", value);
    progress({"distill", m.tokens, setup_.steps * setup_.tokens_per_step, "tokens", detail});
  }

  const TrainOptions& options_;
  const Setup& setup_;
  const std::string& out_;
  checkpoint::WorkFolder& work_;
  TrainState state_;
  data::WindowSampler sampler_;
  Transformer student_;
  std::optional<Transformer> teacher_;
  objective::Objective objective_;
  Parameters parameters_;
};

TrainResult result_of(const Setup& setup, const std::string& out, double loss_first,
                      double loss_last) {
  return {setup.steps, setup.steps * setup.tokens_per_step,  loss_first,
          loss_last,   median_speed(out + "/metrics.jsonl"), core::peak_rss_bytes()};
}

}  // namespace

std::int64_t windows_at_once(const TrainOptions& options) {
  return std::min(options.batch * options.accumulation,
                  std::max<std::int64_t>(1, options.tokens_at_once / options.sequence));
}

std::int64_t peak_memory(const arch::Arch& arch, const arch::ModelDims& student,
                         std::int64_t teacher_parameters, const TrainOptions& options,
                         std::int64_t teacher_hidden) {
  std::int64_t per_token = 0;
  for (const arch::LayerDims& l : student.layers)
    per_token += 8 * student.hidden + 4 * l[arch::Axis::ffn] +
                 3 * l[arch::Axis::kv_groups] * (l[arch::Axis::q_per_kv] + 2) * student.head_dim;
  const std::int64_t tokens = windows_at_once(options) * options.sequence;
  return arch::parameters(arch, student) * 16 + teacher_parameters * 4 + tokens * per_token * 4 +
         terms_memory(options, student, teacher_hidden, tokens) + (std::int64_t{512} << 20);
}

TrainResult distill(const TrainInput& input, const TrainOptions& options,
                    const core::Progress& progress) {
  try {
    Setup setup = prepare(input, options, progress);
    core::make_directory(input.out);
    std::error_code error;
    checkpoint::WorkFolder work({.folder = input.out + "/checkpoint",
                                 .resume = input.resume,
                                 .or_start_over = input.or_start_over,
                                 .threads = input.threads},
                                setup.run);
    if (!input.resume) fs::remove(input.out + "/manifest.json", error);
    if (const auto done = work.finished(input.out, "distill"))
      return result_of(setup, input.out, done->metrics.value("loss_first", 0.0),
                       done->metrics.value("loss_last", 0.0));
    layerwise::begin(work);
    const model::AllocationReuse reuse;
    Run run(options, setup, input.out, work);
    run.train(progress);
    run.trained().save(input.out, setup.student_source, {});
    const TrainState& state = run.state();
    setup.manifest.metrics = {
        {"steps", setup.steps},           {"tokens", setup.steps * setup.tokens_per_step},
        {"loss_first", state.loss_first}, {"loss_last", state.loss_last},
        {"threads", work.threads()},      {"run", setup.run}};
    for (const auto& entry : fs::directory_iterator(input.out))
      if (entry.path().extension() == ".safetensors")
        setup.manifest.outputs[entry.path().filename().string()] =
            hash::sha256_file(entry.path().string());
    checkpoint::write_manifest(input.out, setup.manifest);
    work.remove();
    return result_of(setup, input.out, state.loss_first, state.loss_last);
  } catch (const c10::Error& error) {
    core::fail(core::ErrorKind::internal, "LibTorch: ", error.what_without_backtrace());
  }
}

}  // namespace espalier::distill
