// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "runtime/expect_error.h"
#include "runtime/sampler.h"

namespace espalier::runtime {
namespace {

const std::vector<float> kLogits = {0.0f, 2.0f, 1.0f, 2.0f, -5.0f};

std::map<std::int32_t, int> draw(const SamplerOptions& options, int n) {
  Sampler sampler(options);
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.pick(kLogits)];
  return counts;
}

TEST(Sampler, GreedyTakesTheFirstOfTheBest) {
  Sampler sampler({});
  EXPECT_EQ(sampler.pick(kLogits), 1);
  const std::vector<float> broken = {std::nanf(""), -1.0f, std::nanf("")};
  EXPECT_EQ(sampler.pick(broken), 1);
  const std::vector<float> all_broken = {std::nanf("")};
  support::expect_error([&] { sampler.pick(all_broken); }, core::ErrorKind::input,
                        {"none of the 1 logits"});
}

TEST(Sampler, FollowsTheDistribution) {
  constexpr int kDraws = 40000;
  const auto counts = draw({.temperature = 0.5, .seed = 3}, kDraws);
  double total = 0;
  for (const float l : kLogits) total += std::exp(static_cast<double>(l) / 0.5);
  for (std::size_t i = 0; i < kLogits.size(); ++i) {
    const double p = std::exp(static_cast<double>(kLogits[i]) / 0.5) / total;
    const auto found = counts.find(static_cast<std::int32_t>(i));
    const double share = found == counts.end() ? 0 : static_cast<double>(found->second) / kDraws;
    EXPECT_NEAR(share, p, 5 * std::sqrt(p * (1 - p) / kDraws) + 1e-4)
        << i;  // five standard deviations
  }
}

TEST(Sampler, SeedDecides) {
  const auto sequence = [](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<std::int32_t> out;
    for (int i = 0; i < 50; ++i) out.push_back(sampler.pick(kLogits));
    return out;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
}

TEST(Sampler, TopKAndTopP) {
  EXPECT_EQ(draw({.temperature = 5, .top_k = 1}, 200).size(), 1u);
  EXPECT_EQ(draw({.temperature = 5, .top_k = 3}, 2000).size(), 3u);
  EXPECT_EQ(draw({.temperature = 5, .top_k = 3}, 2000).count(0), 0u);
  EXPECT_EQ(draw({.temperature = 5, .top_k = 99}, 5000).size(), 5u);
  // At temperature 1 the two best hold 0.40 each, the third 0.15.
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.3}, 500).size(), 1u);
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.75}, 500).size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .top_p = 0.9}, 500).size(), 3u);
}

TEST(Sampler, MinP) {
  // At temperature 1 the third best has exp(-1) = 0.37 of the best one's probability, the fourth
  // exp(-2) = 0.14.
  EXPECT_EQ(draw({.temperature = 1, .min_p = 0.4}, 500).size(), 2u);
  EXPECT_EQ(draw({.temperature = 1, .min_p = 0.3}, 500).size(), 3u);
  EXPECT_EQ(draw({.temperature = 1, .min_p = 0.1}, 500).size(), 4u);
  EXPECT_EQ(draw({.temperature = 1, .top_k = 1, .min_p = 0.1}, 50).size(), 1u);
}

TEST(Sampler, RepetitionPenaltyWithinItsWindow) {
  Sampler all({.repeat_penalty = 3, .repeat_window = 0}),
      last({.repeat_penalty = 3, .repeat_window = 1});
  const std::vector<std::int32_t> text = {1, 1, 3, 4, 2};
  all.see(text);
  last.see(text);
  EXPECT_EQ(last.pick(kLogits), 1);  // 2 alone is in the window
  // 2 / 3, 1 / 3, 2 / 3 and -5 * 3: 1 stays the first of the best.
  EXPECT_EQ(all.pick(kLogits), 1);
  const std::vector<float> negative = {-1.0f, 0.1f, -0.5f};
  Sampler penal({.repeat_penalty = 3});
  EXPECT_EQ(penal.pick(negative), 1);
  penal.see(1);
  EXPECT_EQ(penal.pick(negative), 1);  // 0.03 is still the best
  const std::vector<float> all_negative = {-1.0f, -0.1f, -0.2f};
  EXPECT_EQ(penal.pick(all_negative), 2);  // -0.3 is not
  penal.unsee(1);
  EXPECT_EQ(penal.pick(all_negative), 1);
  penal.see(1);
  penal.forget();
  EXPECT_EQ(penal.pick(all_negative), 1);
}

TEST(Sampler, DistributionSumsToOneAndIsWhatIsDrawn) {
  std::vector<float> logits;
  for (int i = 0; i < 1000; ++i) logits.push_back(static_cast<float>(std::sin(i * 12.9898) * 4));
  for (const SamplerOptions& options :
       {SamplerOptions{.temperature = 1},
        SamplerOptions{.temperature = 0.7, .top_k = 40, .top_p = 0.9, .min_p = 0.02},
        SamplerOptions{.temperature = 3, .top_p = 0.999}, SamplerOptions{}}) {
    Sampler sampler(options);
    const auto found = sampler.distribution(logits);
    const std::vector<Candidate> candidates(found.begin(), found.end());
    double sum = 0;
    std::map<std::int32_t, double> by_id;
    for (const Candidate& c : candidates) {
      sum += c.probability;
      by_id[c.id] = c.probability;
    }
    EXPECT_NEAR(sum, 1, 1e-12);
    EXPECT_EQ(by_id.size(), candidates.size());
    for (int i = 0; i < 200; ++i) EXPECT_GT(by_id[sampler.draw(candidates)], 0);
  }
}

// A long tail: the nucleus ends where the sorted list says, whatever part of it was sorted at
// first.
TEST(Sampler, NucleusOfManyTokens) {
  std::vector<float> logits;
  for (int i = 0; i < 5000; ++i) logits.push_back(static_cast<float>((i * 7919) % 5000) * 1e-4f);
  Sampler sampler({.temperature = 1, .top_p = 0.5});
  const auto nucleus = sampler.distribution(logits);
  std::vector<double> weights;
  double total = 0, kept = 0;
  for (const float l : logits) weights.push_back(std::exp(static_cast<double>(l)));
  for (const double w : weights) total += w;
  std::sort(weights.rbegin(), weights.rend());
  std::size_t n = 0;
  while (kept < 0.5 * total) kept += weights[n++];
  EXPECT_NEAR(static_cast<double>(nucleus.size()), static_cast<double>(n), 1);
  EXPECT_GT(n, 1000u);
}

// Golden values of transformers' logits processors, by scripts/golden/sampler.py; its penalty is
// computed in double precision.
TEST(Sampler, DistributionIsTransformers) {
  const auto golden = nlohmann::json::parse(
      core::read_text_file(std::string(ESPALIER_SOURCE_DIR "/tests/golden/sampler.json")));
  const auto logits = golden.at("logits").get<std::vector<float>>();
  const auto seen = golden.at("seen").get<std::vector<std::int32_t>>();
  ASSERT_EQ(golden.at("cases").size(), 9u);
  for (const auto& c : golden.at("cases")) {
    const auto& o = c.at("options");
    Sampler sampler({.temperature = o.at("temperature"),
                     .top_k = o.value("top_k", 0),
                     .top_p = o.value("top_p", 1.0),
                     .min_p = o.value("min_p", 0.0),
                     .repeat_penalty = o.value("repeat_penalty", 1.0),
                     .repeat_window = 0});
    sampler.see(seen);
    const auto& expected = c.at("probabilities");
    std::size_t n = 0;
    for (const Candidate& candidate : sampler.distribution(logits)) {
      const std::string id = std::to_string(candidate.id);
      ASSERT_TRUE(expected.contains(id)) << o << ": " << id;
      EXPECT_NEAR(candidate.probability / expected.at(id).get<double>(), 1, 1e-5)
          << o << ": " << id;
      ++n;
    }
    EXPECT_EQ(n, expected.size()) << o;
  }
}

TEST(Sampler, InfiniteLogits) {
  const std::vector<float> up = {0.0f, std::numeric_limits<float>::infinity(), 1.0f};
  const std::vector<float> down(4, -std::numeric_limits<float>::infinity());
  Sampler sampler({.temperature = 1});
  EXPECT_EQ(sampler.pick(up), 1);
  EXPECT_NEAR(sampler.distribution(down)[3].probability, 0.25, 1e-12);
}

TEST(Sampler, RefusedOptions) {
  const double infinity = std::numeric_limits<double>::infinity();
  const SamplerOptions wrong[] = {{.temperature = -1},    {.temperature = infinity},
                                  {.top_p = 0},           {.top_p = 1.1},
                                  {.top_k = -1},          {.min_p = -0.1},
                                  {.min_p = 1.1},         {.repeat_penalty = 0},
                                  {.repeat_penalty = -1}, {.repeat_penalty = infinity},
                                  {.repeat_window = -1}};
  ASSERT_EQ(std::size(wrong), 11u);
  for (const SamplerOptions& options : wrong)
    support::expect_error([&] { Sampler sampler(options); }, core::ErrorKind::usage,
                          {"--", "expected"});
}

}  // namespace
}  // namespace espalier::runtime
