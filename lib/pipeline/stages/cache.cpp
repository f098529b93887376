// SPDX-License-Identifier: Apache-2.0
// A teacher's sparse logits, written once, for training without the teacher in memory.
#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/units.h"
#include "distill/cache_logits.h"
#include "plan/memory.h"
#include "stages/stage.h"
#include "stages/window.h"
#include "stages/work.h"
#include "timing/layers.h"

namespace espalier::stages {
namespace {

class Cache : public Stage {
 public:
  options::List options() override {
    options::List list;
    list.begin_group("what is kept");
    list.add("tokens", &options_.tokens,
             "tokens, in the order in which a training with the same seed reads them; 0: the whole "
             "text")
        .between(0, 1e15);
    list.add("sequence", &options_.sequence, "tokens of a window, as in the training")
        .between(2, 1 << 20)
        .flagged("sequence,context");
    list.add("top_k", &options_.top_k, "likeliest tokens to keep of each distribution")
        .between(1, 1 << 24);
    list.add("temperature", &options_.temperature,
             "temperature of the distributions, as in the training")
        .between(1e-3, 1e3);
    list.add_choice<int>("values", options_.value_bytes, {{"f16", 2}, {"f32", 4}},
                         "type of the log-probabilities");
    list.begin_group("memory and files");
    list.add("buffer", &options_.buffer_bytes,
             "memory for hidden states between layers; more of it reads the teacher less often")
        .in_bytes()
        .at_least(1)
        .decides_nothing();
    list.add("file_tokens", &options_.file_tokens,
             "tokens of a file; a killed run loses at most one file")
        .between(1, 1e15);
    return list;
  }
  std::vector<Input> inputs() const override {
    return {{"teacher",
             "--teacher",
             "teacher; may be larger than memory",
             {Artifact::model, Artifact::gguf},
             "teacher",
             true},
            {"text", "--text", "training text", {Artifact::text}, "text.train", true},
            {"student",
             "--student",
             "student with a cut vocabulary: the logits are over its tokens",
             {Artifact::model, Artifact::gguf}}};
  }
  std::vector<Output> outputs() const override { return {{Artifact::logits, "logits"}}; }
  void predict(Forecast& forecast) const override {
    Shape shape = forecast.model("teacher");
    if (forecast.has("student")) {
      const std::int64_t tokens = forecast.model("student").dims.vocab;
      ESP_CHECK(tokens <= shape.dims.vocab, input, "student: it has ", tokens,
                " tokens, more than the ", shape.dims.vocab, " of the teacher");
      shape.dims.vocab = tokens;
    }
    distill::CacheOptions options = options_;
    options.sequence = window_within(*this, "sequence", options.sequence, forecast, {"teacher"});
    ESP_CHECK(options_.top_k <= shape.dims.vocab, usage, "top_k ", options_.top_k,
              ": expected at most ", shape.dims.vocab, ", the vocabulary");
    forecast.window = options.sequence;
    forecast.beside = {.about = shape,
                       .sequence = options.sequence,
                       .top_k = options_.top_k,
                       .temperature = options_.temperature};
    forecast.set_memory(shape,
                        [&] { return distill::cache_memory(*shape.arch, shape.dims, options); });
    if (options_.tokens > 0) {
      forecast.work = timing::work_of(
          timing::CalibrateWork{stored(shape), {options.tokens, options.sequence}, false},
          forecast.machine);
      forecast.work += timing::output(shape.dims, options_.tokens);
      forecast.work += timing::loss(shape.dims.vocab, options_.tokens);
      const std::int64_t id_bytes = shape.dims.vocab <= 65536 ? 2 : 4;
      forecast.bytes = options_.tokens * (options_.top_k * (id_bytes + options_.value_bytes) + 4);
      forecast.disk = *forecast.bytes;
    }
  }
  Result run(const Context& context) override {
    const distill::CacheInput input{
        context.path("teacher"), context.path("text"),   context.out,
        context.resume,          context.threads,        context.reading,
        context.or_start_over,   context.path("student")};
    options_.seed = context.seed;
    options_.sequence = window_within(*this, "sequence", options_.sequence, {input.teacher});
    {
      const auto source = checkpoint::Checkpoint::open(input.teacher);
      checkpoint::check_vocabulary_matrices(source);
      plan::batch_within(context.max_ram, options_.sequence, "give a smaller buffer",
                         [&](std::int64_t batch) {
                           options_.batch_tokens = batch;
                           return distill::cache_memory(source.arch(), source.dims(), options_);
                         });
    }
    const distill::CacheResult r = distill::cache_logits(input, options_, context.progress);
    return {{{"tokens", r.tokens},
             {"bytes_per_token", r.bytes_per_token},
             {"tokens_per_second", r.tokens_per_second}},
            context.out + ": " + core::human_count(r.tokens) + " tokens, " +
                core::number(r.bytes_per_token) + " bytes per token, " +
                core::number(r.tokens_per_second) + " tokens/s\n"};
  }

 private:
  distill::CacheOptions options_;
};

}  // namespace

extern const Kind k_cache;
const Kind k_cache{"cache",
                   "write sparse teacher logits once, for distillation without a teacher",
                   "espalier cache --teacher teacher.gguf --text train.txt --out logits",
                   make_stage<Cache>,
                   checkpoint::algorithm_version("cache"),
                   {{"tokens", "tokens in the cache"},
                    {"bytes_per_token", "bytes of the cache per token"},
                    {"tokens_per_second", "speed of this run; 0 when nothing was left to do"}}};

}  // namespace espalier::stages
