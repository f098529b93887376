// SPDX-License-Identifier: Apache-2.0
// Which text each window comes from.
#include "data/mixture.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/notes.h"
#include "hash/sha256.h"

namespace espalier::data {
namespace {

std::string exact(double weight) {
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.9g", weight);
  return out.data();
}

}  // namespace

std::string Mixture::path() const {
  if (corpora.size() == 1) return corpora.front().path;
  std::string out;
  for (std::size_t i = 0; i < corpora.size(); ++i)
    out += (i == 0 ? "" : " ") + corpora[i].path + ":" + exact(weights[i]);
  return out;
}

std::string Mixture::sha256() const {
  if (corpora.size() == 1) return corpora.front().sha256;
  std::string all;
  for (std::size_t i = 0; i < corpora.size(); ++i)
    all += exact(weights[i]) + " " + corpora[i].sha256 + "\n";
  return hash::sha256(all);
}

Mixture load_mixture(const std::vector<Share>& shares, const text::Tokenizer& tokenizer,
                     const core::Progress& progress, const text::Reading& reading) {
  ESP_CHECK(!shares.empty(), internal, "a mixture of no texts");
  std::vector<Corpus> corpora;
  std::vector<double> weights;
  for (const Share& share : shares) {
    corpora.push_back(share.read ? *share.read
                                 : load_corpus(share.path, tokenizer, progress, reading));
    weights.push_back(share.weight);
  }
  return {std::move(corpora), std::move(weights)};
}

namespace {

// One text of a mixture while windows are drawn.
struct Source {
  const Corpus& corpus;
  WindowSampler sampler;
  double share;  // of all windows
  std::int64_t taken = 0, missing = 0;

  // How many windows it is behind once `drawn` are drawn.
  double behind(std::int64_t drawn) const {
    return share * static_cast<double>(drawn) - static_cast<double>(taken + missing);
  }
  bool has_more() const { return taken < sampler.windows_per_epoch(); }
};

std::vector<Source> sources_of(const Mixture& mixture, const text::CalibrationOptions& options,
                               std::int64_t vocab) {
  const double total = std::accumulate(mixture.weights.begin(), mixture.weights.end(), 0.0);
  std::vector<Source> out;
  for (std::size_t i = 0; i < mixture.corpora.size(); ++i) {
    const Corpus& corpus = mixture.corpora[i];
    const auto available = static_cast<std::int64_t>(corpus.tokens.size());
    require_vocabulary(corpus, vocab);
    ESP_CHECK(available >= options.sequence, input, corpus.path, ": the text has ", available,
              " tokens, fewer than one window of ", options.sequence,
              "; give more text or a shorter sequence");
    out.push_back({corpus, WindowSampler(available, options.sequence, options.seed),
                   mixture.weights[i] / total});
  }
  return out;
}

void note_what_is_missing(const std::vector<Source>& sources, std::int64_t sequence) {
  for (const Source& source : sources) {
    ESP_CHECK(source.taken > 0, usage, source.corpus.path, ": its weight gives it no window of ",
              sequence, " tokens; read more tokens, or raise its weight");
    if (source.missing > 0)
      core::note(source.corpus.path + ": " + std::to_string(source.taken * sequence) + " of " +
                 std::to_string((source.taken + source.missing) * sequence) +
                 " tokens were read: the text has no more whole windows of " +
                 std::to_string(sequence));
  }
}

}  // namespace

std::vector<std::int64_t> calibration_ids(const Mixture& mixture,
                                          const text::CalibrationOptions& options,
                                          std::int64_t vocab) {
  if (mixture.corpora.size() == 1) return calibration_ids(mixture.corpora.front(), options, vocab);
  ESP_CHECK(options.sequence >= 2 && options.tokens >= options.sequence, usage,
            "calibration: windows have at least 2 tokens, and at least one is read");
  std::vector<Source> sources = sources_of(mixture, options, vocab);
  std::vector<std::int64_t> ids;
  const std::int64_t n = options.tokens / options.sequence;
  for (std::int64_t drawn = 1; drawn <= n; ++drawn) {
    const auto next = std::max_element(
        sources.begin(), sources.end(),
        [&](const Source& a, const Source& b) { return a.behind(drawn) < b.behind(drawn); });
    if (!next->has_more()) {
      ++next->missing;
      continue;
    }
    ids.resize(ids.size() + static_cast<std::size_t>(options.sequence));
    next->corpus.read_window(next->sampler.start(next->taken++),
                             std::span(ids).last(static_cast<std::size_t>(options.sequence)));
  }
  note_what_is_missing(sources, options.sequence);
  return ids;
}

void require_disjoint(const Mixture& mixture, const Corpus& held_out,
                      const text::Tokenizer& tokenizer) {
  for (const Corpus& corpus : mixture.corpora) require_disjoint(corpus, held_out, tokenizer);
}

}  // namespace espalier::data
