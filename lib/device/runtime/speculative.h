// SPDX-License-Identifier: Apache-2.0
// Speculative decoding (Leviathan, Kalman, Matias 2022, arXiv 2211.17192). A small model guesses
// tokens, and the large model reads them all in one pass.
//
// Let p and q be the distributions of target and draft after the sampler's options. A guess x ~ q
// is accepted with probability min(1, p(x) / q(x)). The first refused guess is replaced by a draw
// from max(0, p - q), normalised. When all guesses are accepted, one more token is drawn from p.
// The tokens are distributed exactly as p.
//
// At temperature 0 both distributions are certain, and the text is the greedy text. That holds as
// far as the kernels compute the same logits for tokens read together and for tokens read singly.
#pragma once
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <vector>

#include "runtime/sampler.h"
#include "runtime/token_reader.h"

namespace espalier::runtime {

// Called for each token in order. Return true to go on.
using TakeToken = std::function<bool(std::int32_t token)>;

struct SpeculativeRound {
  std::int64_t drafted = 0, judged = 0, accepted = 0;
};

class Speculation {
 public:
  // Keeps references. No token is guessed after one of `ends`.
  Speculation(TokenReader& target, TokenReader& draft, Sampler& sampler,
              std::set<std::int32_t> ends);

  // One round. `text` is all tokens so far. The target has read all of them but the last; the draft
  // has read some prefix. The draft guesses at most `n_draft` tokens.
  //
  // take() gets each final token, at most drafted + 1. The sampler has seen the text before the
  // call. After the call it has also seen the tokens that were taken.
  SpeculativeRound round(std::span<const std::int32_t> text, std::int64_t n_draft,
                         const TakeToken& take);

 private:
  void guess(std::span<const std::int32_t> text, std::int64_t n_draft);
  bool accepts(std::int32_t guess, std::span<const Candidate> p, std::span<const Candidate> q);

  TokenReader& target_;
  TokenReader& draft_;
  Sampler& sampler_;
  std::set<std::int32_t> ends_;
  std::vector<std::int32_t> guesses_;  // behind the last token of the text
  std::vector<std::vector<Candidate>> draft_distributions_;
  std::vector<Candidate> residual_;
  std::vector<double> draft_probability_V_;
};

// Writes max(0, p - q), normalised, to `out`. When nothing is left (they are equal up to rounding),
// writes p. `scratch_V` holds zeros before and after the call.
void residual_distribution(std::span<const Candidate> p, std::span<const Candidate> q,
                           std::vector<double>& scratch_V, std::vector<Candidate>& out);

}  // namespace espalier::runtime
