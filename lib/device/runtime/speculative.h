// SPDX-License-Identifier: Apache-2.0
// Speculative decoding (Leviathan, Kalman, Matias 2022, arXiv 2211.17192): a small model guesses
// tokens, the large one reads them all in one pass. With p the target's and q the draft's
// distribution after the sampler's options, a guess x ~ q is taken with probability min(1, p(x) /
// q(x)); the first refused one is replaced by a draw from max(0, p - q), normalised; behind guesses
// that were all taken one more token is drawn from p. Tokens come out distributed exactly as p. At
// temperature 0 both are certain, and the text is the greedy one, as far as the kernels compute the
// same logits for tokens read together as for tokens read singly.
#pragma once
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <vector>

#include "runtime/sampler.h"
#include "runtime/token_reader.h"

namespace espalier::runtime {

// True: go on. Called for each token in order.
using TakeToken = std::function<bool(std::int32_t token)>;

struct SpeculativeRound {
  std::int64_t drafted = 0, judged = 0, accepted = 0;
};

// One round. `text` is all tokens so far; the target has read all but the last, the draft any part
// that begins the text. Guesses at most `n_draft` tokens and none behind one of `ends`. take() gets
// each token that is certain, at most drafted + 1; the sampler has seen the text and, afterwards,
// what was taken.
class Speculation {
 public:
  SpeculativeRound round(TokenReader& target, TokenReader& draft, Sampler& sampler,
                         std::span<const std::int32_t> text, std::int64_t n_draft,
                         const std::set<std::int32_t>& ends, const TakeToken& take);

 private:
  std::vector<std::int32_t> guesses_;
  std::vector<std::vector<Candidate>> draft_distributions_;
  std::vector<Candidate> residual_;
  std::vector<double> draft_probability_V_;
};

// max(0, p - q), normalised, into `out`; p itself when nothing is left (they are equal up to
// rounding). `scratch_V`: zeros, and left so.
void residual_distribution(std::span<const Candidate> p, std::span<const Candidate> q,
                           std::vector<double>& scratch_V, std::vector<Candidate>& out);

}  // namespace espalier::runtime
