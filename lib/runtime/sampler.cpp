// Token choice. Candidates are ordered by logit, equal ones by id, so that a seed gives the same text everywhere.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "runtime/session.h"

namespace espalier::runtime {

struct Sampler::State {
  explicit State(const SamplerOptions& o) : options(o), rng(o.seed) {}

  SamplerOptions options;
  core::Rng rng;
  std::vector<std::pair<float, std::int32_t>> candidates;  // (logit, id), best first
  std::vector<double> weights;                             // of the candidates, not normalised
};

namespace {

bool better(const std::pair<float, std::int32_t>& a, const std::pair<float, std::int32_t>& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : state_(std::make_unique<State>(options)) {
  ESP_CHECK(options.temperature >= 0 && std::isfinite(options.temperature), usage, "--temperature ", options.temperature, ": expected 0 or more");
  ESP_CHECK(options.top_p > 0 && options.top_p <= 1, usage, "--top-p ", options.top_p, ": expected more than 0, at most 1");
  ESP_CHECK(options.top_k >= 0, usage, "--top-k ", options.top_k, ": expected 0 (all) or more");
}
Sampler::~Sampler() = default;

std::int32_t Sampler::pick(std::span<const float> logits) {
  State& s = *state_;
  s.candidates.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i])) s.candidates.emplace_back(logits[i], static_cast<std::int32_t>(i));
  ESP_CHECK(!s.candidates.empty(), input, "none of the ", logits.size(), " logits is a number: the weights of this file are damaged");
  if (s.options.temperature == 0) return std::min_element(s.candidates.begin(), s.candidates.end(), better)->second;

  const std::size_t k = s.options.top_k > 0 ? std::min(s.candidates.size(), static_cast<std::size_t>(s.options.top_k)) : s.candidates.size();
  std::partial_sort(s.candidates.begin(), s.candidates.begin() + static_cast<std::ptrdiff_t>(k), s.candidates.end(), better);
  s.candidates.resize(k);
  s.weights.clear();
  double total = 0;
  for (const auto& [logit, id] : s.candidates) {
    s.weights.push_back(std::exp((static_cast<double>(logit) - static_cast<double>(s.candidates.front().first)) / s.options.temperature));
    total += s.weights.back();
  }
  // The shortest list of best candidates that holds top_p of the probability.
  double kept = 0;
  std::size_t n = 0;
  while (n < k && (n == 0 || kept < s.options.top_p * total)) kept += s.weights[n++];
  double left = s.rng.uniform() * kept;
  for (std::size_t i = 0; i + 1 < n; ++i) {
    left -= s.weights[i];
    if (left < 0) return s.candidates[i].second;
  }
  return s.candidates[n - 1].second;
}

}  // namespace espalier::runtime
