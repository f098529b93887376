// SPDX-License-Identifier: Apache-2.0
// The sampling steps, on logits that are sorted only as far as needed.
#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/rng.h"

namespace espalier::runtime {
namespace {

using Logit = std::pair<float, std::int32_t>;  // (logit, id)

bool better(const Logit& a, const Logit& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

}  // namespace

struct Sampler::State {
  explicit State(const SamplerOptions& o) : options(o), rng(o.seed) {}

  void penalize();
  void sort_first(std::size_t n);

  SamplerOptions options;
  core::Rng rng;
  std::vector<std::int32_t> seen;
  // Logits of all tokens whose logit is a number. The first `sorted` are the best, in descending
  // order.
  std::vector<Logit> logits;
  std::size_t sorted = 0;
  std::vector<std::int32_t> window;  // distinct tokens under the penalty, ascending
  std::vector<Candidate> candidates;
};

Sampler::Sampler(const SamplerOptions& options) : state_(std::make_unique<State>(options)) {
  ESP_CHECK(options.temperature >= 0 && std::isfinite(options.temperature), usage, "--temperature ",
            options.temperature, ": expected a finite number, 0 or more");
  ESP_CHECK(options.top_p > 0 && options.top_p <= 1, usage, "--top-p ", options.top_p,
            ": expected more than 0 and at most 1");
  ESP_CHECK(options.min_p >= 0 && options.min_p <= 1, usage, "--min-p ", options.min_p,
            ": expected 0 to 1");
  ESP_CHECK(options.top_k >= 0, usage, "--top-k ", options.top_k, ": expected 0 (all) or more");
  ESP_CHECK(options.repeat_penalty > 0 && std::isfinite(options.repeat_penalty), usage,
            "--repeat-penalty ", options.repeat_penalty,
            ": expected a finite number, more than 0 (1: none)");
  ESP_CHECK(options.repeat_window >= 0, usage, "--repeat-window ", options.repeat_window,
            ": expected 0 (all) or more");
}
Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

const SamplerOptions& Sampler::options() const { return state_->options; }
double Sampler::uniform() { return state_->rng.uniform(); }
void Sampler::see(std::int32_t token) { state_->seen.push_back(token); }
void Sampler::see(std::span<const std::int32_t> tokens) {
  state_->seen.insert(state_->seen.end(), tokens.begin(), tokens.end());
}
void Sampler::unsee(std::size_t n) {
  ESP_ASSERT(n <= state_->seen.size());
  state_->seen.resize(state_->seen.size() - n);
}
void Sampler::forget() { state_->seen.clear(); }

// Runs before anything is dropped or sorted: logits[i] belongs to the i-th token whose logit is a
// number, with ids ascending.
void Sampler::State::penalize() {
  if (options.repeat_penalty == 1) return;
  const std::size_t n =
      options.repeat_window == 0
          ? seen.size()
          : std::min(seen.size(), static_cast<std::size_t>(options.repeat_window));
  window.assign(seen.end() - static_cast<std::ptrdiff_t>(n), seen.end());
  std::sort(window.begin(), window.end());
  window.erase(std::unique(window.begin(), window.end()), window.end());
  const float penalty = static_cast<float>(options.repeat_penalty);
  auto at = logits.begin();
  for (const std::int32_t token : window) {
    at = std::lower_bound(at, logits.end(), token,
                          [](const Logit& l, std::int32_t id) { return l.second < id; });
    if (at == logits.end()) return;
    if (at->second == token) at->first = at->first > 0 ? at->first / penalty : at->first * penalty;
  }
}

// Brings the best n to the front, best first.
void Sampler::State::sort_first(std::size_t n) {
  n = std::min(n, logits.size());
  if (n <= sorted) return;
  std::partial_sort(logits.begin() + static_cast<std::ptrdiff_t>(sorted),
                    logits.begin() + static_cast<std::ptrdiff_t>(n), logits.end(), better);
  sorted = n;
}

std::span<const Candidate> Sampler::distribution(std::span<const float> logits_V) {
  State& s = *state_;
  s.logits.clear();
  s.sorted = 0;
  s.candidates.clear();
  for (std::size_t i = 0; i < logits_V.size(); ++i)
    if (!std::isnan(logits_V[i])) s.logits.emplace_back(logits_V[i], static_cast<std::int32_t>(i));
  ESP_CHECK(!s.logits.empty(), input, "none of the ", logits_V.size(),
            " logits is a number; the weights of this file are damaged");
  s.penalize();
  const Logit best = *std::min_element(s.logits.begin(), s.logits.end(), better);
  if (s.options.temperature == 0) {
    s.candidates.push_back({best.second, 1.0});
    return s.candidates;
  }

  // Relative to the best logit. The difference of two infinities is undefined.
  const auto weight = [&](const Logit& l) {
    return l.first == best.first
               ? 1.0
               : std::exp((static_cast<double>(l.first) - static_cast<double>(best.first)) /
                          s.options.temperature);
  };
  std::size_t n = s.logits.size();
  if (s.options.top_k > 0 && static_cast<std::size_t>(s.options.top_k) < n) {
    n = static_cast<std::size_t>(s.options.top_k);
    s.sort_first(n);
  }
  for (std::size_t i = 0; i < n; ++i)
    s.candidates.push_back({s.logits[i].second, weight(s.logits[i])});
  if (s.options.top_p < 1) {
    double total = 0, kept = 0;
    for (const Candidate& c : s.candidates) total += c.probability;
    std::size_t nucleus = 0;
    while (nucleus < n && (nucleus == 0 || kept < s.options.top_p * total)) {
      if (nucleus == s.sorted)
        s.sort_first(std::min(n, std::max<std::size_t>(64, 4 * nucleus)));  // most nuclei are short
      kept += weight(s.logits[nucleus++]);
    }
    n = nucleus;
    s.candidates.clear();
    for (std::size_t i = 0; i < n; ++i)
      s.candidates.push_back({s.logits[i].second, weight(s.logits[i])});
  }
  if (s.options.min_p > 0)
    std::erase_if(s.candidates,
                  [&](const Candidate& c) { return c.probability < s.options.min_p; });
  double total = 0;
  for (const Candidate& c : s.candidates) total += c.probability;
  for (Candidate& c : s.candidates) c.probability /= total;
  return s.candidates;
}

std::int32_t Sampler::draw(std::span<const Candidate> candidates) {
  if (candidates.size() == 1) return candidates[0].id;
  double left = state_->rng.uniform();
  for (const Candidate& c : candidates) {
    left -= c.probability;
    if (left < 0) return c.id;
  }
  // Rounding left a small remainder: take the last token that has a probability.
  for (std::size_t i = candidates.size(); i-- > 0;)
    if (candidates[i].probability > 0) return candidates[i].id;
  return candidates.back().id;
}

}  // namespace espalier::runtime
