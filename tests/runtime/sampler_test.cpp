#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "runtime/expect_error.h"
#include "runtime/session.h"

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
  support::expect_error([&] { sampler.pick(all_broken); }, core::ErrorKind::input, {"none of the 1 logits"});
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
    EXPECT_NEAR(share, p, 5 * std::sqrt(p * (1 - p) / kDraws) + 1e-4) << i;  // five standard deviations
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

TEST(Sampler, RefusedOptions) {
  const SamplerOptions wrong[] = {{.temperature = -1}, {.temperature = std::numeric_limits<double>::infinity()}, {.top_p = 0}, {.top_p = 1.1}, {.top_k = -1}};
  for (const SamplerOptions& options : wrong) support::expect_error([&] { Sampler sampler(options); }, core::ErrorKind::usage, {"--t"});
}

}  // namespace
}  // namespace espalier::runtime
