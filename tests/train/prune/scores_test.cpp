// SPDX-License-Identifier: Apache-2.0
// Selection by score against brute force over all subsets, on small cases.
#include "prune/scores.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "core/rng.h"

namespace espalier::prune {
namespace {

using arch::Axis;

// Scores of small whole numbers, so that some are equal. Layer 1 lacks the block.
Scores random_scores(std::uint64_t seed) {
  core::Rng rng(seed);
  Scores out;
  for (const int layer : {0, 2, 3}) {
    std::vector<double>& of_layer = out.all[scores_name(Axis::ffn, layer)];
    for (std::int64_t i = 0; i < 2 + layer; ++i)
      of_layer.push_back(static_cast<double>(rng.below(6)));
  }
  return out;
}

struct Place {
  std::size_t layer;
  std::int64_t index;
};
std::vector<Place> places(const Scores& scores) {
  std::vector<Place> out;
  for (const int layer : {0, 2, 3})
    for (std::size_t i = 0; i < scores.at(scores_name(Axis::ffn, layer)).size(); ++i)
      out.push_back({static_cast<std::size_t>(layer), static_cast<std::int64_t>(i)});
  return out;
}
double sum_of(const Scores& scores, const KeptOfLayers& kept) {
  double sum = 0;
  for (std::size_t l = 0; l < kept.size(); ++l)
    for (const std::int64_t i : kept[l])
      sum += scores.at(scores_name(Axis::ffn, static_cast<int>(l))).at(static_cast<std::size_t>(i));
  return sum;
}

// The allowed selection of the highest sum. Of several, the one that prefers lower layers and then
// lower indices is the first to be met when bit 0 is the first place and masks count down from the
// lexicographically largest.
KeptOfLayers best(const Scores& scores, const std::function<bool(const KeptOfLayers&)>& allowed) {
  const std::vector<Place> all = places(scores);
  KeptOfLayers found;
  double highest = -1;
  for (std::uint32_t order = 1u << all.size(); order-- > 0;) {
    KeptOfLayers kept(4);
    for (std::size_t i = 0; i < all.size(); ++i)
      if (order >> (all.size() - 1 - i) & 1u) kept[all[i].layer].push_back(all[i].index);
    if (!allowed(kept) || sum_of(scores, kept) <= highest) continue;
    highest = sum_of(scores, kept);
    found = kept;
  }
  return found;
}

TEST(Scores, TheHighestOfEachLayerAreThoseOfBruteForce) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const Scores scores = random_scores(seed);
    const std::vector<std::int64_t> sizes{1, 7, 3, 9};  // layer 3 has only 5
    const KeptOfLayers expected = best(scores, [](const KeptOfLayers& kept) {
      return kept[0].size() == 1 && kept[2].size() == 3 && kept[3].size() == 5;
    });
    EXPECT_EQ(keep_highest_per_layer(scores, Axis::ffn, sizes), expected) << seed;
  }
}

TEST(Scores, TheHighestOfAllLayersAreThoseOfBruteForce) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const Scores scores = random_scores(seed);
    for (std::int64_t total = 3; total <= 11; ++total) {
      const KeptOfLayers expected = best(scores, [&](const KeptOfLayers& kept) {
        std::size_t n = 0;
        for (const auto& of_layer : kept) n += of_layer.size();
        return n == static_cast<std::size_t>(total) && !kept[0].empty() && !kept[2].empty() &&
               !kept[3].empty();
      });
      EXPECT_EQ(keep_highest_across_layers(scores, Axis::ffn, 4, total), expected)
          << seed << " " << total;
    }
    for (const std::int64_t total : {2, 12})
      EXPECT_THROW(keep_highest_across_layers(scores, Axis::ffn, 4, total), core::Error);
  }
  EXPECT_EQ(keep_highest_across_layers({}, Axis::kv_groups, 2, 0), KeptOfLayers(2));
}

TEST(Scores, KnowTheirAxes) {
  Scores scores = random_scores(1);
  EXPECT_TRUE(scores.has(Axis::ffn));
  EXPECT_FALSE(scores.has(Axis::hidden));
  scores.all["hidden"] = {1};
  EXPECT_TRUE(scores.has(Axis::hidden));
  EXPECT_THROW(static_cast<void>(scores.at("kv_groups.0")), core::Error);
}

}  // namespace
}  // namespace espalier::prune
