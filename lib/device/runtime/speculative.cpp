// SPDX-License-Identifier: Apache-2.0
// One round of guesses by the draft, judged by the target.
#include "runtime/speculative.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::runtime {
namespace {

double probability_of(std::int32_t id, std::span<const Candidate> candidates) {
  for (const Candidate& c : candidates)
    if (c.id == id) return c.probability;
  return 0;
}

}  // namespace

void residual_distribution(std::span<const Candidate> p, std::span<const Candidate> q,
                           std::vector<double>& scratch_V, std::vector<Candidate>& out) {
  for (const Candidate& c : q) scratch_V[static_cast<std::size_t>(c.id)] = c.probability;
  out.clear();
  double total = 0;
  for (const Candidate& c : p) {
    const double more = c.probability - scratch_V[static_cast<std::size_t>(c.id)];
    if (more <= 0) continue;
    out.push_back({c.id, more});
    total += more;
  }
  for (const Candidate& c : q) scratch_V[static_cast<std::size_t>(c.id)] = 0;
  for (Candidate& c : out) c.probability /= total;
  if (out.empty()) out.assign(p.begin(), p.end());
}

SpeculativeRound Speculation::round(TokenReader& target, TokenReader& draft, Sampler& sampler,
                                    std::span<const std::int32_t> text, std::int64_t n_draft,
                                    const std::set<std::int32_t>& ends, const TakeToken& take) {
  const auto length = static_cast<std::int64_t>(text.size());
  ESP_ASSERT(target.position() == length - 1 && draft.position() < length);
  draft_probability_V_.resize(static_cast<std::size_t>(target.session().dims().vocab), 0.0);

  // The target reads the last token and the guesses. The draft reads all of these but the last
  // guess.
  n_draft = std::min({n_draft, target.room() - 1, draft.session().context() - length + 1});
  guesses_.assign(1, text.back());
  draft_distributions_.clear();
  std::span<const float> logits;
  for (std::int64_t i = 0; i < n_draft; ++i) {
    logits = i == 0 ? draft.read(text.subspan(static_cast<std::size_t>(draft.position())))
                    : draft.read({&guesses_.back(), 1});
    const std::span<const Candidate> q = sampler.distribution(logits);
    draft_distributions_.emplace_back(q.begin(), q.end());
    guesses_.push_back(sampler.draw(draft_distributions_.back()));
    sampler.see(guesses_.back());
    if (ends.contains(guesses_.back())) break;
  }
  SpeculativeRound out{.drafted = static_cast<std::int64_t>(guesses_.size()) - 1};
  sampler.unsee(static_cast<std::size_t>(out.drafted));

  bool open = true;  // no guess was refused, and the caller did not stop
  const auto judge = [&](std::int64_t i, std::span<const float> logits_V) {
    if (!open) return;
    const std::span<const Candidate> p = sampler.distribution(logits_V);
    if (i == out.drafted) {
      const std::int32_t more = sampler.draw(p);
      sampler.see(more);
      take(more);
      return;
    }
    const std::span<const Candidate> q = draft_distributions_[static_cast<std::size_t>(i)];
    const std::int32_t guess = guesses_[static_cast<std::size_t>(i) + 1];
    const double p_guess = probability_of(guess, p), q_guess = probability_of(guess, q);
    ++out.judged;
    const bool certain = p_guess >= q_guess;
    if (certain || (p_guess > 0 && sampler.uniform() * q_guess < p_guess)) {
      ++out.accepted;
      sampler.see(guess);
      open = take(guess);
      return;
    }
    open = false;
    residual_distribution(p, q, draft_probability_V_, residual_);
    const std::int32_t instead = sampler.draw(residual_);
    sampler.see(instead);
    take(instead);
  };
  if (out.drafted == 0)
    judge(0, target.read(guesses_));
  else
    target.read_scored(guesses_, judge);
  // Both keep the text including the accepted guesses. Neither has read the token after them.
  target.rewind(length + out.accepted);
  draft.rewind(std::min(draft.position(), length + out.accepted));
  return out;
}

}  // namespace espalier::runtime
