// SPDX-License-Identifier: Apache-2.0
// A chunk of windows goes through the layers of one model of the training side after the other.
// Then the logits of all models are compared, window by window and some rows at a time. Memory: one
// layer, the states of the chunk of each of these models, and some rows of logits.
#include "verify/evaluate.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>

#include "arch/positions.h"
#include "checkpoint/vocabulary_match.h"
#include "core/error.h"
#include "core/notes.h"
#include "data/corpus.h"
#include "hash/sha256.h"
#include "model/allocation.h"
#include "verify/device_model.h"
#include "verify/totals.h"
#include "verify/walked_model.h"

namespace espalier::verify {
namespace {

using Window = runtime::PerplexityWindow;
using Windows = std::span<const Window>;

torch::Tensor ids_of(Windows windows) {
  std::vector<std::int64_t> ids;
  for (const Window& w : windows) ids.insert(ids.end(), w.tokens.begin(), w.tokens.end());
  return torch::tensor(ids).view({static_cast<std::int64_t>(windows.size()), -1});
}

torch::Tensor targets_of(const Window& window, std::int64_t row, std::int64_t n) {
  return torch::tensor(std::vector<std::int64_t>(window.tokens.begin() + row + 1,
                                                 window.tokens.begin() + row + 1 + n));
}

class Evaluation {
 public:
  Evaluation(const std::vector<EvalModel>& models, const std::string& against,
             const EvalOptions& options, const core::Progress& progress)
      : progress_(progress),
        work_(options.work),
        reference_folder_(options.reference_folder),
        totals_(models.size() + 1) {
    const std::vector<ModelSize> sizes = sizes_of(models, against);
    chunk_ = static_cast<std::size_t>(chunk_windows(sizes, options.context, options.memory));
    rows_ = rows_at_once(sizes.front().dims.vocab);
    const auto walk = [&](const std::string& path, std::optional<std::size_t> of,
                          const ModelSize& size) {
      walked_.emplace_back(path, of, keeps_output(size.dims, options.memory),
                           of ? "" : models.front().path);
    };
    for (std::size_t m = 0; m < models.size(); ++m) {
      if (models[m].engine == Engine::training)
        walk(models[m].path, m, sizes[m]);
      else
        device_.emplace_back(m, models[m].path, options);
    }
    if (against.empty()) return;
    walk(against, std::nullopt, sizes.back());
    reference_ = &walked_.back().model;
  }

  std::vector<EvalResult> run(Windows windows) {
    total_ = windows.size();
    if (work_ != nullptr && work_->has(kTotals)) load();
    while (done_ < total_) {
      const std::size_t begin = done_ / chunk_ * chunk_;  // an earlier run may have begun the chunk
      const Windows chunk = windows.subspan(begin, std::min(chunk_, total_ - begin));
      walk(chunk, begin);
      const model::AllocationReuse reuse;  // all windows need the same blocks of logits
      while (done_ < begin + chunk.size()) {
        compare(chunk[done_ - begin], static_cast<std::int64_t>(done_ - begin));
        ++done_;
        report("perplexity " + std::to_string(totals_.front().perplexity()));
        if (keeps() && work_->due()) save();
      }
      if (!keeps()) continue;
      save();  // before what it was made from goes
      for (const checkpoint::WorkFolder& walk : walks_) walk.remove();
    }
    std::vector<EvalResult> out;
    for (std::size_t m = 0; m + 1 < totals_.size(); ++m)
      out.push_back(totals_[m].result(reference_ != nullptr ? &totals_.back() : nullptr));
    return out;
  }

 private:
  struct Walked {
    Walked(const std::string& p, std::optional<std::size_t> m, bool keep_output,
           const std::string& vocabulary_of)
        : path(p), of(m), model(p, keep_output, vocabulary_of) {}
    std::string path;
    std::optional<std::size_t> of;  // the model whose totals it adds to; none: the reference
    WalkedModel model;
  };
  struct Device {
    Device(std::size_t m, const std::string& path, const EvalOptions& options)
        : of(m), model(path, options.context, options.threads, options.memory.device_whole) {}
    std::size_t of;
    DeviceModel model;
  };

  void report(const std::string& detail) const {
    if (progress_)
      progress_({"evaluate", static_cast<std::int64_t>(done_), static_cast<std::int64_t>(total_),
                 "windows", detail});
  }

  void walk(Windows chunk, std::size_t begin) {
    const torch::Tensor ids = ids_of(chunk);
    walks_.clear();
    for (Walked& w : walked_) {
      if (keeps()) {
        const std::string name = "walk-" + std::to_string(walks_.size()) + "-" +
                                 std::to_string(begin) + "-" + std::to_string(chunk.size());
        walks_.emplace_back(
            checkpoint::WorkOptions{
                .folder = work_->file(name), .resume = true, .threads = work_->threads()},
            name);
        walks_.back().begin();
      }
      layerwise::WalkOptions options{.progress =
                                         [&](const core::ProgressEvent& e) {
                                           report(w.path + ": layer " + std::to_string(e.done) +
                                                  " of " + std::to_string(e.total));
                                         },
                                     .work = keeps() ? &walks_.back() : nullptr};
      if (w.of || reference_folder_.empty())
        w.model.read(ids, std::move(options));
      else
        w.model.read_kept(ids, std::move(options), reference_folder_);
    }
  }

  // False also after an attempt that failed, as on a full disk.
  bool keeps() const { return work_ != nullptr && work_->save_error().empty(); }
  void save() const {
    layerwise::Saved out{.about = {{"windows", done_}}, .tensors = {}};
    for (std::size_t m = 0; m < totals_.size(); ++m) totals_[m].save(out, std::to_string(m));
    work_->save([&] { layerwise::write_saved(work_->file(kTotals), out); });
  }
  void load() {
    try {
      const layerwise::Saved in = layerwise::read_saved(work_->file(kTotals));
      done_ = in.about.at("windows").get<std::size_t>();
      for (std::size_t m = 0; m < totals_.size(); ++m) totals_[m].load(in, std::to_string(m));
    } catch (const std::exception& error) {
      core::fail(core::ErrorKind::input, work_->folder(), ": broken (", error.what(),
                 "); remove it to start over");
    }
  }

  // Adds one window to all totals. `index`: in the chunk.
  void compare(const Window& window, std::int64_t index) {
    for (Totals& totals : totals_) totals.begin_window();
    Reference reference;  // of the rows that begin at `have`
    std::int64_t have = -1, counted = window.first_scored;
    const auto reference_at = [&](std::int64_t row, std::int64_t n) -> const Reference* {
      if (reference_ == nullptr) return nullptr;
      if (have != row) {
        reference = {};  // frees the memory of the rows before
        reference = make_reference(reference_->logits(index, row, n));
        have = row;
      }
      if (row == counted) {
        totals_.back().add(measure(reference, targets_of(window, row, n)));
        counted += n;
      }
      return &reference;
    };
    const std::int64_t n = static_cast<std::int64_t>(window.tokens.size()) - 1;
    for (std::int64_t row = window.first_scored; row < n; row += rows_) {
      const std::int64_t some = std::min(rows_, n - row);
      for (const Walked& w : walked_) {
        if (!w.of) continue;
        const Reference* r = reference_at(row, some);
        totals_[*w.of].add(
            measure(w.model.logits(index, row, some), targets_of(window, row, some), r));
      }
    }
    for (Device& d : device_)
      d.model.run(window, rows_, [&](std::int64_t row, const torch::Tensor& logits) {
        const std::int64_t some = logits.size(0);
        totals_[d.of].add(measure(logits, targets_of(window, row, some), reference_at(row, some)));
      });
  }

  static constexpr const char* kTotals = "totals.safetensors";
  const core::Progress& progress_;
  checkpoint::WorkFolder* work_;
  std::string reference_folder_;
  std::deque<checkpoint::WorkFolder> walks_;  // of the models in the chunk
  std::deque<Walked> walked_;
  std::deque<Device> device_;
  const WalkedModel* reference_ = nullptr;
  std::size_t chunk_ = 1, done_ = 0, total_ = 0;  // windows
  std::int64_t rows_ = 1;                         // of logits at a time
  std::vector<Totals> totals_;                    // the last one of the reference
};

}  // namespace

std::string evaluation_identity(const std::vector<EvalModel>& models, const std::string& against,
                                const std::string& text_path, const EvalOptions& options) {
  nlohmann::json all = {{"algorithm", checkpoint::algorithm_version("verify")},
                        {"context", options.context},
                        {"protocol", static_cast<int>(options.protocol)},
                        {"windows", options.max_windows},
                        {"control_tokens", options.reading.control_tokens},
                        {"losses", "of every window"},
                        {"text", data::text_sha256(text_path)}};
  const auto add = [&](const EvalModel& m) {
    const auto source = checkpoint::Checkpoint::open(m.path);
    all["models"].push_back(
        {source.sha256(), static_cast<int>(m.engine), keeps_output(source.dims(), options.memory)});
  };
  for (const EvalModel& m : models) add(m);
  if (!against.empty()) add({against, Engine::training});
  return hash::sha256(all.dump());
}

std::vector<ModelSize> sizes_of(const std::vector<EvalModel>& models, const std::string& against) {
  std::vector<ModelSize> out;
  const auto add = [&](const EvalModel& m) {
    const auto source = checkpoint::Checkpoint::open(m.path);
    out.push_back({.arch = &source.arch(),
                   .dims = source.dims(),
                   .engine = m.engine,
                   .file_bytes = static_cast<std::int64_t>(source.file_bytes())});
  };
  for (const EvalModel& m : models) add(m);
  if (!against.empty()) add({against, Engine::training});
  return out;
}

std::vector<Window> read_windows(const std::vector<EvalModel>& models, const std::string& against,
                                 const std::string& text_path, const EvalOptions& options,
                                 const core::Progress& progress) {
  const auto first = checkpoint::Checkpoint::open(models.front().path);
  const std::optional<std::int32_t> window_bos = text::window_bos(first.tokenizer());
  std::vector<std::string> others;  // models that by themselves would read other windows
  using Kind = checkpoint::VocabularyMatch::Kind;
  const auto check = [&](const std::string& path, bool is_reference,
                         const std::string& consequence) {
    auto other = checkpoint::Checkpoint::open(path);
    arch::require_positions(other.dims(), options.context, "--context", path);
    if (is_reference)
      if (const auto match = checkpoint::match_vocabularies(other, first); match.kind == Kind::part)
        checkpoint::keep_part(other, first, match);
    ESP_CHECK(text::same_vocabulary(first.tokenizer(), other.tokenizer()), input, path, " and ",
              models.front().path, " have different vocabularies", consequence);
    ESP_CHECK(first.dims().vocab == other.dims().vocab, input, path, " and ", models.front().path,
              " have vocabularies of ", other.dims().vocab, " and ", first.dims().vocab, " rows",
              consequence);
    if (text::window_bos(other.tokenizer()) != window_bos) others.push_back(path);
  };
  for (const EvalModel& m : models) check(m.path, false, " and cannot be compared");
  if (!against.empty()) check(against, true, ": a divergence between them is not defined");
  const text::Tokenizer tokenizer(first.tokenizer());
  const text::TokenStream stream =
      runtime::perplexity_stream(tokenizer, text::read_documents(text_path), options.reading);
  if (progress)
    progress({"text", 0, 0, "",
              text_path + ": " + text::describe_stream(tokenizer, stream.tokens.size())});
  for (const std::string& path : others)
    if (progress)
      progress({"text", 0, 0, "",
                path +
                    " would begin its windows otherwise, by its own tokenizer; it reads those of " +
                    models.front().path});
  return runtime::perplexity_windows(stream, options.context, options.protocol,
                                     options.max_windows);
}

std::vector<EvalResult> evaluate_all(const std::vector<EvalModel>& models,
                                     const std::string& against, Windows windows,
                                     const EvalOptions& options, const core::Progress& progress) {
  torch::InferenceMode inference;
  ESP_CHECK(!models.empty(), internal, "evaluate: no model");
  std::vector<EvalResult> results = Evaluation(models, against, options, progress).run(windows);
  for (std::size_t m = 0; m < models.size(); ++m)
    if (!std::isfinite(results[m].perplexity))
      core::note(models[m].path +
                 ": the perplexity is not finite, for the mean loss is above 709 " +
                 "nats a token; JSON has null for it");
  return results;
}

EvalResult evaluate(const std::string& model, const std::string& against,
                    const std::string& text_path, const EvalOptions& options,
                    const core::Progress& progress) {
  const std::vector<EvalModel> models{{model, options.engine}};
  return evaluate_all(models, against, read_windows(models, against, text_path, options, progress),
                      options, progress)
      .front();
}

}  // namespace espalier::verify
