// SPDX-License-Identifier: Apache-2.0
// One round of guesses by the draft, judged by the target.
#include "runtime/speculative.h"

#include <algorithm>
#include <utility>

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

Speculation::Speculation(TokenReader& target, TokenReader& draft, Sampler& sampler,
                         std::set<std::int32_t> ends)
    : target_(target), draft_(draft), sampler_(sampler), ends_(std::move(ends)) {
  draft_probability_V_.resize(static_cast<std::size_t>(target.session().dims().vocab), 0.0);
}

// The draft reads the last token and its guesses but the last. The sampler sees what it saw before.
void Speculation::guess(std::span<const std::int32_t> text, std::int64_t n_draft) {
  guesses_.assign(1, text.back());
  draft_distributions_.clear();
  std::span<const float> logits;
  for (std::int64_t i = 0; i < n_draft; ++i) {
    logits = i == 0 ? draft_.read(text.subspan(static_cast<std::size_t>(draft_.position())))
                    : draft_.read({&guesses_.back(), 1});
    const std::span<const Candidate> q = sampler_.distribution(logits);
    draft_distributions_.emplace_back(q.begin(), q.end());
    guesses_.push_back(sampler_.draw(draft_distributions_.back()));
    sampler_.see(guesses_.back());
    if (ends_.contains(guesses_.back())) break;
  }
  sampler_.unsee(guesses_.size() - 1);
}

bool Speculation::accepts(std::int32_t guess, std::span<const Candidate> p,
                          std::span<const Candidate> q) {
  const double p_guess = probability_of(guess, p), q_guess = probability_of(guess, q);
  const bool certain = p_guess >= q_guess;
  return certain || (p_guess > 0 && sampler_.uniform() * q_guess < p_guess);
}

SpeculativeRound Speculation::round(std::span<const std::int32_t> text, std::int64_t n_draft,
                                    const TakeToken& take) {
  const auto length = static_cast<std::int64_t>(text.size());
  ESP_ASSERT(target_.position() == length - 1 && draft_.position() < length);
  guess(text, std::min({n_draft, target_.room() - 1, draft_.session().context() - length + 1}));
  SpeculativeRound out{.drafted = static_cast<std::int64_t>(guesses_.size()) - 1};

  bool open = true;  // no guess was refused, and the caller did not stop
  const auto draw_last = [&](std::span<const Candidate> distribution) {
    const std::int32_t token = sampler_.draw(distribution);
    sampler_.see(token);
    take(token);
  };
  const auto judge = [&](std::int64_t i, std::span<const float> logits_V) {
    if (!open) return;
    const std::span<const Candidate> p = sampler_.distribution(logits_V);
    if (i == out.drafted) {
      draw_last(p);
      return;
    }
    const std::span<const Candidate> q = draft_distributions_[static_cast<std::size_t>(i)];
    const std::int32_t guess = guesses_[static_cast<std::size_t>(i) + 1];
    ++out.judged;
    if (accepts(guess, p, q)) {
      ++out.accepted;
      sampler_.see(guess);
      open = take(guess);
      return;
    }
    open = false;
    residual_distribution(p, q, draft_probability_V_, residual_);
    draw_last(residual_);
  };
  // The target reads the last token and all guesses.
  if (out.drafted == 0)
    judge(0, target_.read(guesses_));
  else
    target_.read_scored(guesses_, judge);
  // Both keep the text including the accepted guesses. Neither has read the token after them.
  target_.rewind(length + out.accepted);
  draft_.rewind(std::min(draft_.position(), length + out.accepted));
  return out;
}

}  // namespace espalier::runtime
