// SPDX-License-Identifier: Apache-2.0
// Token choice: logits become a distribution by the options, and a token is drawn from it.
// Candidates are ordered by logit, equal ones by id, so that a seed gives the same tokens
// everywhere.
//
// In this order: repetition penalty (Keskar et al. 2019, arXiv 1909.05858) over the tokens of the
// window; greedy at temperature 0; else temperature, top-k, top-p (Holtzman et al. 2019, arXiv
// 1904.09751: the shortest list of best tokens that holds p of the probability) and min-p (Nguyen
// et al. 2024, arXiv 2407.01082: tokens with at least that share of the best one's probability).
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace espalier::runtime {

struct SamplerOptions {
  double temperature = 0;  // 0: greedy
  std::int64_t top_k = 0;  // 0: all
  double top_p = 1;        // 1: all
  double min_p = 0;        // 0: all
  double repeat_penalty =
      1;  // 1: none; positive logits are divided by it, negative ones multiplied
  std::int64_t repeat_window = 64;  // the last tokens it looks at, those of the prompt too; 0: all
  std::uint64_t seed = 0;
};

struct Candidate {
  std::int32_t id;
  double probability;
};

class Sampler {
 public:
  // Error(usage) names the option that makes no sense.
  explicit Sampler(const SamplerOptions& options);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // What the next token is drawn from: distinct ids, probabilities that sum to 1. Valid until the
  // next call. Error(input) when no logit is a number.
  std::span<const Candidate> distribution(std::span<const float> logits_V);
  std::int32_t draw(std::span<const Candidate> candidates);
  std::int32_t pick(std::span<const float> logits_V) { return draw(distribution(logits_V)); }
  double uniform();  // [0, 1), of the same stream

  // The tokens of the text so far, which the penalty looks at: whoever picks tells which tokens
  // were taken.
  void see(std::int32_t token);
  void see(std::span<const std::int32_t> tokens);
  void unsee(std::size_t n);  // the last n
  void forget();              // all; the random numbers go on
  const SamplerOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::runtime
