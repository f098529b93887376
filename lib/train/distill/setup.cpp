// SPDX-License-Identifier: Apache-2.0
// Checks options and inputs of a training run, and computes its identity.
#include "distill/setup.h"

#include <algorithm>
#include <filesystem>

#include "arch/arch.h"
#include "checkpoint/vocabulary_match.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/units.h"
#include "distill/options_json.h"
#include "distill/planned_terms.h"
#include "distill/schedule.h"
#include "hash/sha256.h"
#include "model/device.h"
#include "model/precision.h"

namespace espalier::distill {
namespace {

using checkpoint::Checkpoint;

checkpoint::VocabularyMatch match_of(const Checkpoint& teacher, const Checkpoint& student) {
  checkpoint::VocabularyMatch match = checkpoint::match_vocabularies(teacher, student);
  if (match.kind != checkpoint::VocabularyMatch::Kind::other) return match;
  ESP_CHECK(
      teacher.dims().vocab == student.dims().vocab, input, "teacher ", teacher.path(),
      " has a vocabulary of ", teacher.dims().vocab, ", student ", student.path(), " of ",
      student.dims().vocab,
      ", which is not a part of it: distillation compares their distributions token by token");
  core::fail(
      core::ErrorKind::input, "teacher ", teacher.path(), " and student ", student.path(),
      " have different tokenizers: distillation compares their distributions token by token");
}

// Checks the temperature, and that the cache has every window of the run. All epochs read the
// same windows, so the first epoch decides.
void check_cached_windows(const LogitCache& cached, const std::string& path,
                          const data::Corpus& corpus, const TrainOptions& o) {
  ESP_CHECK(
      cached.shape().temperature == o.temperature, usage, path,
      ": log-probabilities at temperature ", cached.shape().temperature,
      ", but the training has temperature ", o.temperature,
      ": they do not determine another temperature; make another cache, or set `temperature: ",
      cached.shape().temperature, "`");
  const data::WindowSampler sampler(static_cast<std::int64_t>(corpus.tokens.size()), o.sequence,
                                    o.seed);
  const std::int64_t per_step = o.batch * o.accumulation,
                     steps = (o.tokens + per_step * o.sequence - 1) / (per_step * o.sequence);
  const std::int64_t needed = std::min(steps * per_step, sampler.windows_per_epoch());
  for (std::int64_t w = 0; w < needed; ++w)
    ESP_CHECK(cached.has(cached.on_grid(sampler.start_from_end(w))), input, path, ": holds ",
              cached.windows(), " windows of ", o.sequence, " tokens, but the training reads ",
              needed, " and window ", w, " is missing; cache --tokens ", needed * o.sequence,
              " with the same seed, or the whole text");
}

// Training goes on when the text ends: it reads the text again.
void note_repetition(const data::Corpus& corpus, const TrainOptions& o, std::int64_t tokens) {
  const data::WindowSampler sampler(static_cast<std::int64_t>(corpus.tokens.size()), o.sequence,
                                    o.seed);
  const std::int64_t windows = tokens / o.sequence, there = sampler.windows_per_epoch();
  if (windows > there)
    core::note(corpus.path + ": the training reads " + std::to_string(windows) +
               " windows, and the text has " + std::to_string(there) + ": it is read " +
               core::number(static_cast<double>(windows) / static_cast<double>(there)) + " times");
}

void check_paths(const TrainInput& input) {
  const bool has_teacher = !input.teacher.empty(), has_cached = !input.cached.empty();
  ESP_CHECK(!input.out.empty(), usage, "no output directory given");
  ESP_CHECK(!core::same_file(input.out, input.student) &&
                !(has_teacher && core::same_file(input.out, input.teacher)) &&
                !(has_cached && core::same_file(input.out, input.cached)),
            usage, input.out, ": the output is an input; choose another directory");
}

// Everything that decides the result. Refuses a text that contains held-out text.
checkpoint::Manifest manifest_of(const TrainInput& input, const TrainOptions& options,
                                 const Setup& setup, const text::Tokenizer& tokenizer) {
  checkpoint::Manifest manifest;
  manifest.stage = "distill";
  manifest.inputs = {{"student", setup.student_source.sha256()}, {"text", setup.corpus.sha256}};
  if (setup.teacher_source) manifest.inputs["teacher"] = setup.teacher_source->sha256();
  if (setup.cached) {
    manifest.inputs["teacher"] = setup.cached->teacher();
    manifest.inputs["cached"] = setup.cached->shape().run;
  }
  if (!input.held_out.empty()) {
    const data::Corpus held_out = data::load_corpus(input.held_out, tokenizer, {}, input.reading);
    data::require_disjoint(setup.corpus, held_out, tokenizer);
    manifest.inputs["held_out"] = held_out.sha256;
  }
  manifest.algorithm = checkpoint::algorithm_version("distill");
  manifest.options = options_json(options);
  manifest.options["precision"] = model::matmul_precision(options.precision);
  if (!model::training_device().is_cpu())  // which rounds otherwise
    manifest.options["device"] = c10::DeviceTypeName(model::training_device().type(), true);
  if (setup.corpus.bos) manifest.options[data::kWindowBos] = *setup.corpus.bos;
  if (!setup.corpus.reading.empty()) manifest.options[data::kTextReading] = setup.corpus.reading;
  bool pairs_layers = false;
  for (const objective::PlannedTerm& t : setup.terms)
    for (const objective::LayerPair& pair : t.pairs) {
      manifest.options["layer_pairs"][t.label].push_back(objective::to_text(pair));
      pairs_layers = true;
    }
  // Which channels of the teacher the student has kept comes from its plan.
  const std::string plan = setup.student_source.path() + "/plan.json";
  std::error_code unreadable;
  if (pairs_layers && std::filesystem::exists(plan, unreadable))
    manifest.inputs["student_plan"] = hash::sha256_file(plan);
  return manifest;
}

}  // namespace

void check_schedule(const TrainOptions& o) {
  const double usual = TrainOptions().final_learning_rate_ratio;
  ESP_CHECK(schedule_by_name(o.schedule).uses_final_ratio || o.final_learning_rate_ratio == usual,
            usage, "no effect with schedule ", o.schedule, "; leave it out");
}

void require_cacheable(const TrainOptions& options, const std::string& path, std::int64_t k) {
  TrainOptions described = options;
  describe(described);
  check_cached(planned_terms(described), described, path, k);
}

Setup prepare(const TrainInput& input, const TrainOptions& options,
              const core::Progress& progress) {
  const bool has_teacher = !input.teacher.empty(), has_cached = !input.cached.empty();
  ESP_CHECK(!(has_teacher && has_cached), usage,
            "both a teacher and cached logits are given: give only one of them");
  ESP_CHECK(!has_cached || model::training_device().is_cpu(), unsupported, input.cached,
            ": cached logits are read on the CPU only; give the teacher, or use --device cpu");
  TrainOptions described = options;
  options::check(describe(described));
  check_schedule(options);
  std::vector<objective::PlannedTerm> terms = planned_terms(described);
  check_teacher(terms, described, has_teacher || has_cached);
  check_paths(input);
  const torch::ScalarType dtype = model::matmul_dtype(options.precision);
  Checkpoint student = Checkpoint::open(input.student);
  std::optional<Checkpoint> teacher;
  std::vector<std::int64_t> channels;  // of the teacher's stream that the student has
  if (has_teacher) {
    teacher.emplace(Checkpoint::open(input.teacher));
    const checkpoint::VocabularyMatch match = match_of(*teacher, student);
    channels = pair_layers(terms, described, student, *teacher).channels;
    checkpoint::keep_part(*teacher, student, match);
  }
  ESP_CHECK(options.sequence <= student.dims().positions, usage, "sequence ", options.sequence,
            " is longer than the student's context of ", student.dims().positions);

  const text::Tokenizer tokenizer(student.tokenizer());
  data::Corpus corpus = data::load_corpus(input.text, tokenizer, progress, input.reading);
  data::require_vocabulary(corpus, student.dims().vocab);
  if (progress && teacher && text::window_bos(teacher->tokenizer()) != corpus.bos)
    progress({"text", 0, 0, "",
              "teacher " + teacher->path() + " would begin its windows otherwise, by its own " +
                  "tokenizer; it reads those of the student"});
  std::optional<LogitCache> cached;
  if (has_cached) {
    cached.emplace(input.cached);
    cached->require(corpus, student.tokenizer(), student.dims().vocab, options.sequence);
    check_cached(terms, options, input.cached, cached->shape().k);
    check_cached_windows(*cached, input.cached, corpus, options);
  }
  objective::Settings settings{described.of_terms, options.temperature, options.vocab_chunk, dtype,
                               std::move(channels)};
  const std::int64_t per_step = options.batch * options.sequence * options.accumulation,
                     steps = (options.tokens + per_step - 1) / per_step;
  Setup setup{std::move(student),
              std::move(teacher),
              std::move(cached),
              std::move(corpus),
              dtype,
              steps,
              per_step,
              std::move(terms),
              std::move(settings),
              {},
              {}};
  setup.manifest = manifest_of(input, options, setup, tokenizer);
  setup.run = checkpoint::identity(setup.manifest);
  note_repetition(setup.corpus, options, steps * per_step);
  return setup;
}

}  // namespace espalier::distill
