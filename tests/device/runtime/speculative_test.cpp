// SPDX-License-Identifier: Apache-2.0
// Speculative decoding draws from the target's distribution: counted over many rounds of tiny
// models, whose distributions are known.
#include "runtime/speculative.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "runtime/plain_model.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

constexpr std::int64_t kVocab = 7;
const support::PlainSizes kTiny{
    .vocab = kVocab, .hidden = 16, .head_dim = 8, .positions = 16, .layers = {{1, 1, 16}}};

TEST(ResidualDistribution, IsWhatTheTargetHasMoreOf) {
  std::vector<double> scratch(5, 0.0);
  std::vector<Candidate> out;
  const std::vector<Candidate> p = {{0, 0.5}, {1, 0.3}, {4, 0.2}},
                               q = {{1, 0.6}, {0, 0.1}, {2, 0.3}};
  residual_distribution(p, q, scratch, out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].id, 0);
  EXPECT_NEAR(out[0].probability, 0.4 / 0.6, 1e-15);
  EXPECT_EQ(out[1].id, 4);
  EXPECT_NEAR(out[1].probability, 0.2 / 0.6, 1e-15);
  EXPECT_EQ(scratch, std::vector<double>(5, 0.0));
  residual_distribution(p, p, scratch, out);
  EXPECT_EQ(out.size(), 3u);
}

class Speculated : public testing::Test {
 protected:
  Speculated() : target_(session("t.gguf", 3)), draft_(session("d.gguf", 4)) {}
  Session session(const char* name, std::uint64_t seed) {
    support::PlainModel model = support::random_model(kTiny, seed);
    support::write_gguf(model, dir_.file(name));
    return Session(dir_.file(name), {.threads = 1, .kv = SessionOptions::KvType::f32});
  }
  // Of the next token after `text`.
  static std::vector<double> next(Session& session, const std::vector<std::int32_t>& text,
                                  const SamplerOptions& options) {
    Sampler sampler(options);
    sampler.see(text);
    session.reset();
    std::vector<double> out(static_cast<std::size_t>(kVocab), 0.0);
    for (const Candidate& c : sampler.distribution(session.prefill(text)))
      out[static_cast<std::size_t>(c.id)] = c.probability;
    return out;
  }
  // Probability of the first two tokens behind `prompt`, [first * V + second].
  static std::vector<double> pairs(Session& session, const std::vector<std::int32_t>& prompt,
                                   const SamplerOptions& options) {
    std::vector<double> out;
    const std::vector<double> first = next(session, prompt, options);
    for (std::int32_t a = 0; a < kVocab; ++a) {
      std::vector<std::int32_t> text = prompt;
      text.push_back(a);
      for (const double b : next(session, text, options))
        out.push_back(first[static_cast<std::size_t>(a)] * b);
    }
    return out;
  }
  // Pearson's statistic minus its mean, in its standard deviations; cells that hold little are put
  // together. Infinite when something came that cannot.
  static double deviation(const std::vector<int>& counts, const std::vector<double>& probabilities,
                          int n) {
    double statistic = 0, rest_expected = 0, cells = -1;
    int rest = 0;
    const auto add = [&](double count, double expected) {
      statistic += (count - expected) * (count - expected) / expected;
      ++cells;
    };
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const double expected = probabilities[i] * n;
      if (expected == 0 && counts[i] > 0) return INFINITY;
      if (expected >= 5) {
        add(counts[i], expected);
      } else {
        rest += counts[i];
        rest_expected += expected;
      }
    }
    if (rest_expected > 0) add(rest, rest_expected);
    return (statistic - cells) / std::sqrt(2 * cells);
  }

  support::TempDir dir_;
  Session target_, draft_;
};

TEST_F(Speculated, TokensAreDistributedAsTheTargets) {
  constexpr int kDraws = 6000;
  const std::vector<std::int32_t> prompt = {1, 5, 2};
  const SamplerOptions settings[] = {{.temperature = 1, .seed = 11},
                                     {.temperature = 0.8,
                                      .top_k = 5,
                                      .top_p = 0.9,
                                      .min_p = 0.05,
                                      .repeat_penalty = 1.3,
                                      .seed = 12}};
  for (const SamplerOptions& options : settings) {
    const std::vector<double> expected = pairs(target_, prompt, options),
                              wrong = pairs(draft_, prompt, options);
    const std::vector<double> p = next(target_, prompt, options), q = next(draft_, prompt, options);
    double overlap = 0;
    for (std::size_t i = 0; i < p.size(); ++i) overlap += std::min(p[i], q[i]);

    TokenReader target(target_), draft(draft_);
    Sampler sampler(options);
    Speculation speculation(target, draft, sampler, {});
    std::vector<int> counts(expected.size(), 0);
    std::int64_t accepted_first = 0;
    for (int i = 0; i < kDraws; ++i) {
      std::vector<std::int32_t> text = prompt;
      target.keep_common(prompt);
      if (target.position() < 2) target.read(std::vector<std::int32_t>{1, 5});
      draft.keep_common(prompt);
      sampler.forget();
      sampler.see(prompt);
      while (text.size() < prompt.size() + 2) {
        std::vector<std::int32_t> more;
        const SpeculativeRound round = speculation.round(text, 3, [&](std::int32_t token) {
          more.push_back(token);
          return true;
        });
        ASSERT_EQ(static_cast<std::int64_t>(more.size()), round.accepted + 1);
        ASSERT_EQ(round.judged, std::min<std::int64_t>(round.accepted + 1, round.drafted));
        if (text.size() == prompt.size()) accepted_first += round.accepted > 0;
        text.insert(text.end(), more.begin(), more.end());
        ASSERT_EQ(target.position(), static_cast<std::int64_t>(text.size()) - 1);
      }
      ++counts[static_cast<std::size_t>(text[prompt.size()] * kVocab + text[prompt.size() + 1])];
    }
    EXPECT_LT(std::abs(deviation(counts, expected, kDraws)), 4.5);
    EXPECT_GT(deviation(counts, wrong, kDraws),
              50);  // control: the draft's own distribution is another
    // The first guess is taken with probability sum min(p, q).
    const double share = static_cast<double>(accepted_first) / kDraws;
    EXPECT_NEAR(share, overlap, 4.5 * std::sqrt(overlap * (1 - overlap) / kDraws));
    EXPECT_GT(overlap, 0.02);
    EXPECT_LT(overlap, 0.98);
  }
}

TEST_F(Speculated, NoGuessBehindAnEndToken) {
  TokenReader target(target_), draft(draft_);
  Sampler sampler({});
  const std::vector<std::int32_t> text = {1, 5, 2};
  target.read(std::vector<std::int32_t>{1, 5});
  std::set<std::int32_t> all;
  for (std::int32_t i = 0; i < kVocab; ++i) all.insert(i);
  Speculation speculation(target, draft, sampler, all);
  int taken = 0;
  const SpeculativeRound round =
      speculation.round(text, 5, [&](std::int32_t) { return ++taken < 0; });
  EXPECT_EQ(round.drafted, 1);
  EXPECT_EQ(taken, 1);
}

}  // namespace
}  // namespace espalier::runtime
