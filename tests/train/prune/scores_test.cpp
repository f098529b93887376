// SPDX-License-Identifier: Apache-2.0
// Selection by score against brute force over all subsets, on small cases.
#include "prune/scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <span>

#include "core/error.h"
#include "core/rng.h"
#include "format/safetensors.h"
#include "support/layer_sizes.h"
#include "support/temp_dir.h"

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

TEST(Scores, KnowTheirAxes) {
  Scores scores = random_scores(1);
  EXPECT_TRUE(scores.has(Axis::ffn));
  EXPECT_FALSE(scores.has(Axis::hidden));
  scores.all["hidden"] = {1};
  EXPECT_TRUE(scores.has(Axis::hidden));
  EXPECT_THROW(static_cast<void>(scores.at("kv_groups.0")), core::Error);
}

// A file of another program: three layers with 4 channels and 2 KV groups, of which layer 1 lacks
// its FFN.
struct Foreign {
  support::TempDir dir;
  std::string path = dir.file("foreign.safetensors");
  arch::ModelDims dims = [] {
    arch::ModelDims out;
    out.hidden = 6;
    out.layers = support::layer_list({{2, 1, 4}, {2, 1, 0}, {2, 1, 4}});
    return out;
  }();
  struct Named {
    std::string name;
    std::vector<float> values;
    std::vector<std::int64_t> shape = {};  // empty: that of the values
    format::FormatId type = format::FormatId::f32;
  };
  void write(const std::vector<Named>& all, const std::map<std::string, std::string>& metadata) {
    format::SafetensorsWriter writer(path);
    for (const auto& [key, value] : metadata) writer.set_metadata(key, value);
    for (const Named& t : all)
      writer.add_tensor(t.name, t.type,
                        t.shape.empty()
                            ? std::vector<std::int64_t>{static_cast<std::int64_t>(t.values.size())}
                            : t.shape);
    writer.begin();
    for (const Named& t : all) {
      const auto bytes = std::as_bytes(std::span(t.values));
      writer.write(t.type == format::FormatId::f32 ? bytes : bytes.first(bytes.size() / 2));
    }
    writer.finish();
  }
};

TEST(ScoresOfOtherPrograms, AreReadWithWhatTheyHave) {
  Foreign f;
  const std::string hash(64, 'a');
  f.write({{"ffn.2", {1, 4, 2, 3}}, {"layers", {3, 1, 2}}, {"layers.2", {1, 1, 9}}},
          {{"format", "pt"}, {"criterion", "mine"}, {"tokens", "512"}, {"source_sha256", hash}});
  const Scores scores = read_scores(f.path, f.dims);
  EXPECT_EQ(scores.criterion, "mine");
  EXPECT_EQ(scores.tokens, 512);
  EXPECT_EQ(scores.source_sha256, hash);
  EXPECT_EQ(scores.at("ffn.2"), (std::vector<double>{1, 4, 2, 3}));
  EXPECT_EQ(keep_highest(scores.of_layers(1), 2), (std::vector<std::int64_t>{0, 2}));
  EXPECT_EQ(keep_highest(scores.of_layers(2), 1), (std::vector<std::int64_t>{2}));
  try {
    static_cast<void>(scores.at("kv_groups.0"));
    ADD_FAILURE();
  } catch (const core::Error& e) {
    EXPECT_STREQ(e.what(), "there are no scores of kv_groups.0 (there are some of ffn, layers)");
  }
  f.write({{"hidden", {1, 2, 3, 4, 5, 6}}}, {});
  EXPECT_TRUE(read_scores(f.path, f.dims).has(Axis::hidden));
}

TEST(ScoresOfOtherPrograms, AreRefusedWithTheirPlace) {
  Foreign f;
  const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  const std::vector<float> good{1, 2, 3, 4};
  struct Case {
    std::vector<Foreign::Named> tensors;
    std::map<std::string, std::string> metadata;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      {{{"ffn.0", good}, {"ffn.2", {1, 2, nan, 4}}}, {}, {"ffn.2: the score of index 2 is nan"}},
      {{{"ffn.2", {1, 2, 3, -inf}}}, {}, {"ffn.2: the score of index 3 is -inf"}},
      {{{"ffn.0", {1, 2, 3}}}, {}, {"'ffn.0' has the shape [3], expected [4]"}},
      {{{"ffn.0", good, {2, 2}}}, {}, {"'ffn.0' has the shape [2, 2], expected [4]"}},
      {{{"ffn.0", good, {4}, format::FormatId::f16}}, {}, {"'ffn.0' is F16, expected F32"}},
      {{{"ffn.1", good}}, {}, {"'ffn.1': the layer lacks this block"}},
      {{{"ffn.3", good}}, {}, {"'ffn.3' names no axis", "ffn.0 to ffn.2"}},
      {{{"layers.3", {1, 2, 3}}}, {}, {"'layers.3' names no axis"}},
      {{{"model.layers.0.mlp", good}}, {}, {"'model.layers.0.mlp' names no axis"}},
      {{}, {{"criterion", "x"}}, {"there are no scores in it"}},
      {{{"ffn.0", good}}, {{"source_sha256", "1234"}}, {"source_sha256 '1234' is no SHA-256"}},
      {{{"ffn.0", good}}, {{"tokens", "many"}}, {"tokens 'many' is no number"}},
  };
  for (const Case& c : cases) {
    f.write(c.tensors, c.metadata);
    try {
      read_scores(f.path, f.dims);
      ADD_FAILURE() << c.parts[0];
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::input);
      EXPECT_NE(std::string(e.what()).find(f.path), std::string::npos) << e.what();
      for (const std::string& part : c.parts)
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  }
  EXPECT_EQ(cases.size(), 12u);
}

}  // namespace
}  // namespace espalier::prune
