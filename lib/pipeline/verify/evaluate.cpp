// SPDX-License-Identifier: Apache-2.0
// Takes windows of text through the reference and all models. Memory: the models, and the logits of
// one window ([context, vocab] floats).
#include "verify/evaluate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "model/transformer.h"
#include "verify/divergence.h"

namespace espalier::verify {
namespace {

// Rows of logits that are compared at a time. Each product packs the output weights anew.
constexpr std::int64_t kRows = 512;

class Scorer {
 public:
  Scorer(const EvalModel& model, const EvalOptions& options) : path_(model.path) {
    if (model.engine == Engine::device) {
      session_.emplace(model.path,
                       runtime::SessionOptions{.threads = options.threads,
                                               .context = options.context,
                                               .isa = "",
                                               .kv = runtime::SessionOptions::KvType::f16,
                                               .packed_file = false});
    } else {
      const auto source = checkpoint::Checkpoint::open(model.path);
      transformer_.emplace(model::Transformer::load(source, {}));
    }
  }
  // Calls take(row, logits [n, V]) for rows from first_scored of the window on, except the last
  // position, which predicts nothing scored.
  template <typename Take>
  void run(const runtime::PerplexityWindow& window, Take&& take) {
    const std::int64_t n = static_cast<std::int64_t>(window.tokens.size()) - 1;
    if (transformer_) {
      const torch::Tensor ids =
          torch::tensor(std::vector<std::int64_t>(window.tokens.begin(), window.tokens.end()))
              .unsqueeze(0);
      const torch::Tensor hidden_TH = transformer_->hidden(ids).squeeze(0);
      for (std::int64_t row = window.first_scored; row < n; row += kRows)
        take(row, finite(transformer_->logits(hidden_TH.slice(0, row, std::min(n, row + kRows)))));
      return;
    }
    session_->reset();
    const std::int64_t vocab = session_->dims().vocab;
    torch::Tensor rows = torch::empty({kRows, vocab});
    std::int64_t filled = 0, first = window.first_scored;
    const auto flush = [&] {
      if (filled > 0) take(first, rows.slice(0, 0, filled));
      first += filled;
      filled = 0;
    };
    session_->prefill_scored(
        window.tokens, window.first_scored, [&](std::int64_t index, std::span<const float> logits) {
          if (index >= n) return;
          std::copy(logits.begin(), logits.end(), rows.data_ptr<float>() + filled * vocab);
          if (++filled == kRows) flush();
        });
    flush();
  }

 private:
  // The logits of a session are not checked here, because the session checks them.
  const torch::Tensor& finite(const torch::Tensor& logits) const {
    ESP_CHECK(torch::isfinite(logits).all().item<bool>(), input, path_,
              ": the logits are not finite, although the weights are: activations of this text "
              "exceed the range of float32, so that there is no result");
    return logits;
  }

  std::string path_;
  std::optional<runtime::Session> session_;
  std::optional<model::Transformer> transformer_;
};

struct Totals {
  double nll = 0;
  std::int64_t same_top1 = 0, tokens = 0;
  std::vector<float> kl;
  void add(const Measured& m) {
    for (double v : m.nll) nll += v;
    tokens += static_cast<std::int64_t>(m.nll.size());
    same_top1 += m.same_top1;
    kl.insert(kl.end(), m.kl.begin(), m.kl.end());
  }
};

torch::Tensor targets_of(const runtime::PerplexityWindow& window, std::int64_t row,
                         std::int64_t n) {
  return torch::tensor(std::vector<std::int64_t>(window.tokens.begin() + row + 1,
                                                 window.tokens.begin() + row + 1 + n));
}

EvalResult finish(Totals& totals, const Totals* reference) {
  EvalResult r;
  r.tokens = totals.tokens;
  r.perplexity = std::exp(totals.nll / static_cast<double>(totals.tokens));
  if (reference == nullptr) return r;
  r.has_divergence = true;
  r.against_perplexity = std::exp(reference->nll / static_cast<double>(reference->tokens));
  r.same_top1 = static_cast<double>(totals.same_top1) / static_cast<double>(totals.tokens);
  r.kl_per_token = totals.kl;
  double sum = 0;
  for (float v : totals.kl) sum += v;
  r.kl_mean = sum / static_cast<double>(totals.tokens);
  const std::size_t at = std::min(
      totals.kl.size() - 1, static_cast<std::size_t>(0.99 * static_cast<double>(totals.kl.size())));
  std::nth_element(totals.kl.begin(), totals.kl.begin() + static_cast<std::ptrdiff_t>(at),
                   totals.kl.end());
  r.kl_p99 = totals.kl[at];
  return r;
}

}  // namespace

std::vector<EvalResult> evaluate_all(const std::vector<EvalModel>& models,
                                     const std::string& against, const std::string& text_path,
                                     const EvalOptions& options, const core::Progress& progress) {
  torch::InferenceMode inference;
  ESP_CHECK(!models.empty(), internal, "evaluate: no model");
  const auto first = checkpoint::Checkpoint::open(models.front().path);
  const std::optional<std::int32_t> window_bos = text::window_bos(first.tokenizer());
  std::vector<std::string> others;  // models that by themselves would read other windows
  for (const EvalModel& m : models) {
    const auto other = checkpoint::Checkpoint::open(m.path);
    ESP_CHECK(text::same_vocabulary(first.tokenizer(), other.tokenizer()), input, m.path, " and ",
              models.front().path, " have different vocabularies and cannot be compared");
    if (text::window_bos(other.tokenizer()) != window_bos) others.push_back(m.path);
  }
  if (!against.empty()) {
    const auto reference = checkpoint::Checkpoint::open(against);
    ESP_CHECK(text::same_vocabulary(first.tokenizer(), reference.tokenizer()), input, against,
              " and ", models.front().path,
              " have different vocabularies: a divergence between them is not defined");
    if (text::window_bos(reference.tokenizer()) != window_bos) others.push_back(against);
  }
  const text::Tokenizer tokenizer(first.tokenizer());
  const text::TokenStream stream =
      runtime::perplexity_stream(tokenizer, core::read_text_file(text_path));
  if (progress)
    progress({"text", 0, 0, "",
              text_path + ": " + text::describe_stream(tokenizer, stream.tokens.size())});
  for (const std::string& path : others)
    if (progress)
      progress({"text", 0, 0, "",
                path +
                    " would begin its windows otherwise, by its own tokenizer; it reads those of " +
                    models.front().path});
  const std::vector<runtime::PerplexityWindow> windows =
      runtime::perplexity_windows(stream, options.context, options.protocol, options.max_windows);

  std::optional<Scorer> reference;
  if (!against.empty()) reference.emplace(EvalModel{against, Engine::training}, options);
  std::vector<Scorer> scorers;
  for (const EvalModel& m : models) scorers.emplace_back(m, options);

  Totals reference_totals;
  std::vector<Totals> totals(models.size());
  for (std::size_t w = 0; w < windows.size(); ++w) {
    std::vector<Reference> rows;
    if (reference)
      reference->run(windows[w], [&](std::int64_t row, const torch::Tensor& logits) {
        reference_totals.add(measure(logits, targets_of(windows[w], row, logits.size(0)), nullptr));
        rows.push_back(make_reference(logits));
      });
    for (std::size_t m = 0; m < models.size(); ++m) {
      std::size_t part = 0;
      scorers[m].run(windows[w], [&](std::int64_t row, const torch::Tensor& logits) {
        totals[m].add(measure(logits, targets_of(windows[w], row, logits.size(0)),
                              reference ? &rows.at(part++) : nullptr));
      });
    }
    if (progress)
      progress(
          {"evaluate", static_cast<std::int64_t>(w + 1), static_cast<std::int64_t>(windows.size()),
           "windows",
           "perplexity " + std::to_string(std::exp(totals.front().nll /
                                                   static_cast<double>(totals.front().tokens)))});
  }
  std::vector<EvalResult> out;
  for (Totals& t : totals) out.push_back(finish(t, reference ? &reference_totals : nullptr));
  return out;
}

EvalResult evaluate(const std::string& model, const std::string& against,
                    const std::string& text_path, const EvalOptions& options,
                    const core::Progress& progress) {
  return evaluate_all({{model, options.engine}}, against, text_path, options, progress).front();
}

}  // namespace espalier::verify
