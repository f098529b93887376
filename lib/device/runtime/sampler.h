// SPDX-License-Identifier: Apache-2.0
// Chooses tokens. The options turn logits into a distribution, and a token is drawn from it.
// Candidates are ordered by logit, equal logits by id, so that a seed gives the same tokens
// everywhere.
//
// The steps are, in this order:
// - repetition penalty (Keskar et al. 2019, arXiv 1909.05858) over the tokens of the window
// - greedy choice at temperature 0, which ends the steps
// - temperature
// - top-k
// - top-p (Holtzman et al. 2019, arXiv 1904.09751): the shortest list of best tokens that holds p
//   of the probability
// - min-p (Nguyen et al. 2024, arXiv 2407.01082): tokens with at least that share of the best
//   token's probability
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
  // Positive logits are divided by it, negative logits multiplied. 1: none.
  double repeat_penalty = 1;
  // The number of last tokens that the penalty applies to, prompt included. 0: all.
  std::int64_t repeat_window = 64;
  std::uint64_t seed = 0;
};

struct Candidate {
  std::int32_t id;
  double probability;
};

class Sampler {
 public:
  // Error(usage) names an option that is out of range.
  explicit Sampler(const SamplerOptions& options);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // The distribution of the next token: distinct ids, and probabilities that sum to 1. Valid until
  // the next call. Error(input) when no logit is a number.
  std::span<const Candidate> distribution(std::span<const float> logits_V);
  std::int32_t draw(std::span<const Candidate> candidates);
  std::int32_t pick(std::span<const float> logits_V) { return draw(distribution(logits_V)); }
  double uniform();  // in [0, 1), from the same random stream

  // Adds tokens to the text that the penalty looks at. The caller reports which tokens were taken.
  void see(std::int32_t token);
  void see(std::span<const std::int32_t> tokens);
  void unsee(std::size_t n);  // removes the last n tokens
  void forget();              // removes all tokens; the random stream continues
  const SamplerOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::runtime
