// SPDX-License-Identifier: Apache-2.0
// The cache run: reads windows in chunks, passes them through the teacher layer by layer, and
// writes files.
#include "distill/cache_logits.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "checkpoint/manifest.h"
#include "checkpoint/vocabulary_match.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/units.h"
#include "distill/logit_cache.h"
#include "layerwise/walk.h"
#include "model/allocation.h"
#include "plan/memory.h"

namespace espalier::distill {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using torch::Tensor;
using Clock = std::chrono::steady_clock;

std::int64_t batch_windows(const CacheOptions& o) {
  return std::max<std::int64_t>(1, o.batch_tokens / o.sequence);
}

void check(const CacheInput& input, const CacheOptions& o, const checkpoint::Checkpoint& teacher) {
  ESP_CHECK(o.sequence >= 2 && o.sequence <= teacher.dims().positions, usage, "sequence ",
            o.sequence, ": expected 2 to ", teacher.dims().positions, ", the teacher's context");
  ESP_CHECK(o.top_k >= 1 && o.top_k <= teacher.dims().vocab, usage, "top-k ", o.top_k,
            ": expected 1 to ", teacher.dims().vocab, ", the teacher's vocabulary");
  ESP_CHECK(o.tokens >= 0 && o.temperature > 0 && o.buffer_bytes > 0 && o.file_tokens > 0 &&
                (o.value_bytes == 2 || o.value_bytes == 4),
            usage, "tokens ", o.tokens, ", temperature ", o.temperature, ", buffer ",
            o.buffer_bytes, ", tokens of a file ", o.file_tokens, ": out of range");
  ESP_CHECK(!input.out.empty(), usage, "no output directory given");
  ESP_CHECK(!core::same_file(input.out, input.teacher), usage, input.out,
            ": the output is an input; choose another directory");
}

// The teacher, of whose vocabulary only what the student has counts, where one is given.
checkpoint::Checkpoint open_teacher(const CacheInput& input) {
  auto teacher = checkpoint::Checkpoint::open(input.teacher);
  if (input.student.empty()) return teacher;
  const auto student = checkpoint::Checkpoint::open(input.student);
  const checkpoint::VocabularyMatch match = checkpoint::match_vocabularies(teacher, student);
  ESP_CHECK(match.kind != checkpoint::VocabularyMatch::Kind::other, input, input.student,
            ": its vocabulary of ", student.dims().vocab, " tokens is not a part of the ",
            teacher.dims().vocab, " that the teacher ", input.teacher, " has");
  checkpoint::keep_part(teacher, student, match);
  return teacher;
}

class Writer {
 public:
  Writer(const CacheInput& input, const CacheOptions& options, const core::Progress& progress)
      : input_(input), options_(options), progress_(progress), source_(open_teacher(input)) {
    check(input, options, source_);
    corpus_ = data::load_corpus(input.text, text::Tokenizer(source_.tokenizer()), progress,
                                input.reading);
    data::require_vocabulary(corpus_, source_.dims().vocab);
    const data::WindowSampler sampler(static_cast<std::int64_t>(corpus_.tokens.size()),
                                      options.sequence, options.seed);
    const std::int64_t all = sampler.windows_per_epoch(),
                       wanted =
                           options.tokens > 0 ? (options.tokens - 1) / options.sequence + 1 : all;
    if (wanted > all)
      core::note(input.text + ": " + std::to_string(all * options.sequence) + " of " +
                 std::to_string(options.tokens) + " tokens are cached: the text has no more");
    for (std::int64_t w = 0; w < std::min(all, wanted); ++w)
      starts_.push_back(sampler.start_from_end(w));
    manifest_.stage = "cache";
    manifest_.inputs = {{"teacher", source_.sha256()},
                        {"text", corpus_.sha256},
                        {"tokenizer", tokenizer_sha256(source_.tokenizer())},
                        {"token_ids", token_ids_sha256(corpus_)}};
    manifest_.options = Json{{"windows", starts_.size()},
                             {"sequence", options.sequence},
                             {"top_k", options.top_k},
                             {"temperature", options.temperature},
                             {"value_bytes", options.value_bytes},
                             {"file_tokens", options.file_tokens},
                             {"seed", options.seed}};
    if (options.batch_tokens != text::kBatchTokens)
      manifest_.options["batch_tokens"] = options.batch_tokens;
    if (corpus_.bos) manifest_.options[data::kWindowBos] = *corpus_.bos;
    if (!corpus_.reading.empty()) manifest_.options[data::kTextReading] = corpus_.reading;
    manifest_.algorithm = checkpoint::algorithm_version("cache");
    run_ = checkpoint::identity(manifest_);
    manifest_.metrics["run"] = run_;
    work_.emplace(checkpoint::WorkOptions{.folder = input.out + "/checkpoint",
                                          .resume = input.resume,
                                          .or_start_over = input.or_start_over,
                                          .threads = input.threads},
                  run_);
  }

  CacheResult run() {
    begin();
    const std::int64_t per_file =
        std::max<std::int64_t>(1, options_.file_tokens / options_.sequence);
    const std::size_t files = (starts_.size() + static_cast<std::size_t>(per_file) - 1) /
                              static_cast<std::size_t>(per_file);
    std::vector<bool> present;
    std::uint64_t bytes = 0, missing = 0;
    for (std::size_t f = 0; f < files; ++f) {
      const LogitHeader h = header(f, per_file);
      present.push_back(is_present(f, h));
      bytes += h.file_bytes();
      if (!present[f]) missing += h.file_bytes();
    }
    core::require_free_disk(input_.out, missing);
    const auto begin = Clock::now();
    std::int64_t computed = 0;
    for (std::size_t f = 0; f < files; ++f) {
      const LogitHeader h = header(f, per_file);
      const std::int64_t tokens = static_cast<std::int64_t>(h.starts.size()) * options_.sequence;
      if (!present[f]) {
        compute(path(f), h);
        computed += tokens;
      }
      manifest_.outputs[logit_file_name(f)] = hash::sha256_file(path(f));
      done_ += tokens;
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    CacheResult result{static_cast<std::int64_t>(starts_.size()) * options_.sequence, 0, 0};
    result.bytes_per_token = static_cast<double>(bytes) / static_cast<double>(result.tokens);
    if (computed > 0)
      result.tokens_per_second = static_cast<double>(computed) / std::max(seconds, 1e-9);
    manifest_.metrics["tokens"] = result.tokens;
    manifest_.metrics["bytes_per_token"] = result.bytes_per_token;
    manifest_.metrics["threads"] = work_->threads();
    checkpoint::write_manifest(input_.out, manifest_);
    work_->remove();
    return result;
  }

 private:
  std::string path(std::size_t file) const { return input_.out + "/" + logit_file_name(file); }
  LogitHeader header(std::size_t file, std::int64_t per_file) const {
    const auto begin = starts_.begin() + static_cast<std::ptrdiff_t>(file) * per_file;
    const auto end = starts_.end() - begin > per_file ? begin + per_file : starts_.end();
    return {.vocab = source_.dims().vocab,
            .sequence = options_.sequence,
            .k = options_.top_k,
            .value_bytes = options_.value_bytes,
            .threads = work_->threads(),
            .temperature = options_.temperature,
            .run = run_,
            .starts = {begin, end}};
  }

  // Takes over what an earlier run left, or removes it. The file that was being written when that
  // run was killed goes in any case.
  void begin() {
    std::error_code error;
    if (!input_.resume) fs::remove(input_.out + "/manifest.json", error);
    work_->finished(input_.out, "cache");
    layerwise::begin(*work_);
    const bool goes_on = input_.resume && !work_->started_over();
    std::vector<fs::path> stale;
    for (const auto& entry : fs::directory_iterator(input_.out, error)) {
      const std::string name = entry.path().filename().string();
      const bool ours = name.starts_with("logits-") && name.find(".bin") != std::string::npos;
      if ((ours && (!goes_on || name.find(".bin.tmp-") != std::string::npos)) ||
          name.starts_with("manifest.json.tmp-"))
        stale.push_back(entry.path());
    }
    for (const fs::path& p : stale) {
      fs::remove(p, error);
      ESP_CHECK(!error, input, p.string(),
                ": cannot remove the files of an earlier run: ", error.message());
    }
    work_->start();
  }

  // Whether the file exists and is complete. Refuses damaged files instead of keeping them.
  bool is_present(std::size_t f, const LogitHeader& want) const {
    std::error_code error;
    if (!fs::exists(path(f), error)) return false;
    const LogitFile file(path(f));
    const LogitHeader& have = file.header();
    ESP_CHECK(have.run == run_ && have.starts == want.starts && have.threads == want.threads, input,
              path(f), ": belongs to another run; remove it, and it will be made again");
    for (std::size_t w = 0; w < have.starts.size(); ++w)
      static_cast<void>(file.window(static_cast<std::int64_t>(w)));
    return true;
  }

  Tensor ids_of(std::span<const std::int64_t> starts) const {
    const std::int64_t T = options_.sequence;
    Tensor out = torch::empty({static_cast<std::int64_t>(starts.size()), T}, torch::kInt64);
    auto* ids = out.mutable_data_ptr<std::int64_t>();
    for (const std::int64_t start : starts) {
      corpus_.read_window(start, std::span(ids, static_cast<std::size_t>(T)));
      ids += T;
    }
    return out;
  }

  void compute(const std::string& path, const LogitHeader& h) {
    if (!teacher_) teacher_.emplace(model::Transformer::open(source_));
    LogitFileWriter file(path, h);
    const std::span<const std::int64_t> starts(h.starts);
    const auto chunk =
        static_cast<std::size_t>(cache_chunk_tokens(source_.dims(), options_) / options_.sequence);
    for (std::size_t begin = 0; begin < starts.size(); begin += chunk)
      file.add(chunk_logits(starts.subspan(begin, std::min(chunk, starts.size() - begin)),
                            static_cast<std::int64_t>(begin) * options_.sequence));
    file.commit();
  }

  // Passes the hidden states of some windows through all layers, with one layer in memory at a
  // time.
  objective::SparseLogits chunk_logits(std::span<const std::int64_t> starts,
                                       std::int64_t done_in_file) {
    const std::int64_t tokens = static_cast<std::int64_t>(starts.size()) * options_.sequence,
                       n_layers = teacher_->dims().n_layers();
    layerwise::Walk walk(*teacher_, ids_of(starts), {},
                         {.progress =
                              [&](const core::ProgressEvent& e) {
                                report(done_in_file + tokens * e.done / (n_layers + 1), e.done,
                                       n_layers);
                              },
                          .batch_tokens = options_.batch_tokens});
    walk.run();
    const layerwise::Stream& stream = walk.stream();
    const model::AllocationReuse reuse;
    for (std::int64_t b = 0; b < stream.batches(); ++b) {
      const Tensor x = stream.at(b);
      x.copy_(teacher_->final_norm(x));
    }
    objective::SparseLogits out =
        objective::top_logits(*teacher_, stream.states.view({tokens, -1}), options_.top_k,
                              options_.temperature, batch_windows(options_) * options_.sequence);
    report(done_in_file + tokens, n_layers, n_layers);
    return out;
  }

  void report(std::int64_t done_in_file, std::int64_t layer, std::int64_t layers) const {
    if (!progress_) return;
    char detail[64];
    std::snprintf(detail, sizeof detail, "layer %lld of %lld", static_cast<long long>(layer),
                  static_cast<long long>(layers));
    progress_({"cache", done_ + done_in_file,
               static_cast<std::int64_t>(starts_.size()) * options_.sequence, "tokens", detail});
  }

  const CacheInput& input_;
  const CacheOptions& options_;
  const core::Progress& progress_;
  checkpoint::Checkpoint source_;
  data::Corpus corpus_;
  std::vector<std::int64_t> starts_;  // of all windows, in the order of drawing
  checkpoint::Manifest manifest_;
  std::string run_;
  std::optional<model::Transformer> teacher_;
  std::optional<checkpoint::WorkFolder> work_;
  std::int64_t done_ = 0;  // tokens of the previous files
};

}  // namespace

std::int64_t cache_chunk_tokens(const arch::ModelDims& dims, const CacheOptions& o) {
  const std::int64_t batch = batch_windows(o) * o.sequence;
  // The states, and the kept ids and values: the running ones, joined with those of the next block,
  // and sorted.
  const std::int64_t per_token = 4 * dims.hidden + 3 * 8 * o.top_k;
  return std::max<std::int64_t>(1, o.buffer_bytes / (per_token * batch)) * batch;
}

std::int64_t cache_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                          const CacheOptions& o) {
  std::int64_t tokens = cache_chunk_tokens(dims, o);
  if (o.tokens > 0) tokens = std::min(tokens, o.tokens);
  return plan::layer_stage_memory(arch, dims,
                                  {.tokens = tokens,
                                   .batch_tokens = o.batch_tokens,
                                   .sums = false,
                                   .more = 3 * 8 * o.top_k * tokens});
}

CacheResult cache_logits(const CacheInput& input, const CacheOptions& options,
                         const core::Progress& progress) {
  const torch::InferenceMode inference;
  try {
    return Writer(input, options, progress).run();
  } catch (const c10::Error& error) {
    core::fail(core::ErrorKind::internal, "LibTorch: ", error.what_without_backtrace());
  }
}

}  // namespace espalier::distill
