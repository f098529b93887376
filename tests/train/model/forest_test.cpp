// SPDX-License-Identifier: Apache-2.0
// A forest gives every text what it gets alone, for every family: windows, soft-caps, learned
// positions, layers without rotation.
#include "model/forest.h"

#include <gtest/gtest.h>

#include <optional>

#include "model/transformer.h"
#include "support/golden_models.h"

namespace espalier::model {
namespace {

using torch::Tensor;

std::vector<std::int64_t> words(std::int64_t n, std::int64_t seed, std::int64_t vocab) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < n; ++i) out.push_back((seed * 31 + i * i * 17 + i * 5) % vocab);
  return out;
}

Tensor logits_of(const Transformer& model, const std::vector<std::int64_t>& ids,
                 const Forest* forest) {
  std::optional<ReadForest> reading;
  if (forest != nullptr) reading.emplace(*forest);
  return model.forward(torch::tensor(ids).unsqueeze(0))[0];
}

double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

struct Planted {
  Forest forest;
  std::vector<std::int64_t> ids;
  std::vector<std::vector<std::int64_t>> texts;  // of every branch, the trunk in front
  std::vector<std::int64_t> rows;                // of the last token of each text
};

// Three trees: with a trunk and branches, without a trunk, without a branch.
Planted plant(std::int64_t vocab) {
  Planted out;
  std::int64_t seed = 1;
  for (const Forest::Tree& tree :
       {Forest::Tree{9, {4, 0, 7}}, Forest::Tree{0, {5, 3}}, Forest::Tree{6, {}}}) {
    out.forest.add(tree);
    const auto trunk = words(tree.trunk, seed++, vocab);
    out.ids.insert(out.ids.end(), trunk.begin(), trunk.end());
    if (tree.branches.empty()) {
      out.texts.push_back(trunk);
      out.rows.push_back(static_cast<std::int64_t>(out.ids.size()) - 1);
    }
    for (const std::int64_t n : tree.branches) {
      if (n == 0) continue;
      const auto branch = words(n, seed++, vocab);
      out.ids.insert(out.ids.end(), branch.begin(), branch.end());
      out.texts.push_back(trunk);
      out.texts.back().insert(out.texts.back().end(), branch.begin(), branch.end());
      out.rows.push_back(static_cast<std::int64_t>(out.ids.size()) - 1);
    }
  }
  return out;
}

TEST(Forest, GivesEachTextWhatItGetsAlone) {
  torch::InferenceMode inference;
  std::size_t compared = 0;
  for (const char* name : support::kGoldenModels) {
    const auto source = checkpoint::Checkpoint::open(support::golden_model(name).directory);
    const Transformer model = Transformer::load(source, {});
    if (model.dims().long_rope.used()) continue;  // below
    const Planted planted = plant(model.dims().vocab);
    const Tensor together = logits_of(model, planted.ids, &planted.forest);
    ASSERT_EQ(planted.forest.tokens(), together.size(0));
    ASSERT_EQ(planted.forest.longest(), 16);
    for (std::size_t i = 0; i < planted.texts.size(); ++i) {
      const Tensor alone = logits_of(model, planted.texts[i], nullptr);
      const Tensor last = alone[alone.size(0) - 1], here = together[planted.rows[i]];
      // Float sums in another order.
      EXPECT_LT(distance(last, here), 1e-4) << name << " text " << i;
      // The next text is another one.
      if (i > 0) {
        EXPECT_GT(distance(last, together[planted.rows[i - 1]]), 0.1) << name;
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 5 * 30u);
}

// A long text is rotated otherwise, by its own length: trees of one forest are alike in that.
TEST(Forest, OfLongTextsOrShortOnes) {
  torch::InferenceMode inference;
  std::size_t compared = 0;
  for (const char* name : support::kGoldenModels) {
    const auto source = checkpoint::Checkpoint::open(support::golden_model(name).directory);
    const Transformer model = Transformer::load(source, {});
    const std::int64_t original = model.dims().long_rope.original_positions;
    if (!model.dims().long_rope.used()) continue;
    for (const std::int64_t trunk : {original - 3, original + 2}) {
      Forest forest;
      forest.add({trunk, {2, 3}});
      const auto ids = words(trunk + 5, 3, model.dims().vocab);
      const Tensor together = logits_of(model, ids, &forest);
      const Tensor alone =
          logits_of(model, {ids.begin(), ids.begin() + static_cast<long>(trunk) + 2}, nullptr);
      EXPECT_LT(distance(alone[trunk + 1], together[trunk + 1]), 1e-4) << name << trunk;
      ++compared;
    }
  }
  EXPECT_GE(compared, 2u);
}

}  // namespace
}  // namespace espalier::model
