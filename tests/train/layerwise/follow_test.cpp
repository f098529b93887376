// SPDX-License-Identifier: Apache-2.0
// The edited stream is the exact one where nothing is edited, follows it better with a refit than
// without, and several edits share one pass: cutting and rounding together is at least as good as
// one after the other.
#include "layerwise/follow.h"

#include <gtest/gtest.h>

#include <numeric>

#include "layerwise/walk.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::layerwise {
namespace {

using arch::Axis;
using arch::Role;
using torch::Tensor;

std::string written(const support::TempDir& dir, bool factors) {
  const std::string path =
      support::write_tiny_llama(dir.file("model"), {.hidden = 48, .layers = 4, .ffn = 96});
  return factors ? support::with_factors(path) : path;
}

struct Fixture {
  bool factors = false;
  support::TempDir dir = {};
  model::Transformer model =
      model::Transformer::load(checkpoint::Checkpoint::open(written(dir, factors)), {});
  Tensor ids = [] {
    torch::manual_seed(5);
    return torch::randint(300, {16, 64}, torch::kInt64);
  }();
};

// Keeps the channels of the FFN with the largest second moments.
struct CutFfn : Edit {
  bool all = false;  // give every matrix, not only those that a refit changes
  bool all_matrices() const override { return all; }
  std::int64_t wanted;
  explicit CutFfn(std::int64_t n) : wanted(n) {}
  bool cuts(const BlockEdit& edit) const override {
    return edit.block.axis() == Axis::ffn && wanted < edit.layer.dims().layers[0][Axis::ffn];
  }
  Kept keep(const BlockEdit&, const NormalEquations& equations, const Tensor&) override {
    const Tensor best = std::get<1>(equations.gram.diagonal().topk(wanted)).contiguous();
    std::vector<std::int64_t> out(best.data_ptr<std::int64_t>(),
                                  best.data_ptr<std::int64_t>() + wanted);
    std::sort(out.begin(), out.end());
    return {{Axis::ffn, out}};
  }
};
// Rounds every refitted matrix to a grid of its own.
struct RoundAll : Edit {
  int matrices = 0;
  bool all_matrices() const override { return true; }
  Tensor matrix(const BlockEdit&, Role, Tensor weights, const NormalEquations& inputs) override {
    EXPECT_EQ(inputs.gram.size(0), weights.size(1));
    ++matrices;
    const double step = weights.abs().max().item<double>() / 7;
    return (weights / step).round() * step;
  }
};

// The squared distance of the streams behind the last layer, of the exact one's size.
double distance(const Fixture& f, const FollowOptions& options, const std::vector<Edit*>& edits,
                std::vector<EditedLayer>* layers = nullptr) {
  Follow follow(options, edits);
  Walk walk(f.model, f.ids, {&follow}, {.batch_tokens = 256});
  walk.run();
  if (layers != nullptr) *layers = follow.layers();
  EXPECT_TRUE(follow.at_rest());
  return ((follow.edited().states - walk.stream().states).square().sum() /
          walk.stream().states.square().sum())
      .item<double>();
}

TEST(Follow, WithoutEditsTheStreamsAreEqual) {
  const torch::InferenceMode inference;
  Fixture f;
  EXPECT_EQ(distance(f, {.keep_layers = {0, 1, 2, 3}}, {}), 0);
}

TEST(Follow, RefittingFollowsBetter) {
  const torch::InferenceMode inference;
  Fixture f;
  CutFfn cut(64);
  std::vector<EditedLayer> layers;
  const double plain = distance(f, {.keep_layers = {0, 1, 2, 3}, .refit = false}, {&cut}, &layers);
  ASSERT_EQ(layers.size(), 4u);
  for (const EditedLayer& l : layers) {
    EXPECT_TRUE(l.refitted.empty());
    EXPECT_EQ(l.kept.at(Axis::ffn).size(), 64u);
  }
  const double refitted = distance(f, {.keep_layers = {0, 1, 2, 3}}, {&cut}, &layers);
  EXPECT_LT(refitted, 0.8 * plain);
  EXPECT_EQ(layers[0].refitted.size(), 1u);  // nothing differs before the first cut but down itself
  EXPECT_EQ(layers[1].refitted.size(), 7u);
  EXPECT_EQ(layers[1].refitted.at(Role::ffn_gate).size(0), 64);
  EXPECT_EQ(layers[1].refitted.at(Role::ffn_down).size(1), 64);
}

// Where what a block adds has a factor, the consumer is fitted to what it gives before.
TEST(Follow, RefittingFollowsBetterWithFactors) {
  const torch::InferenceMode inference;
  Fixture f{.factors = true};
  ASSERT_EQ(f.model.dims().residual_factor, 0.4);
  CutFfn cut(64);
  const FollowOptions options{.keep_layers = {0, 1, 2, 3}};
  const double plain = distance(f, {.keep_layers = {0, 1, 2, 3}, .refit = false}, {&cut}),
               dropped = distance(f, {.keep_layers = {0, 1, 3}, .refit = false}, {});
  EXPECT_LT(distance(f, options, {&cut}), 0.8 * plain);
  EXPECT_LT(distance(f, {.keep_layers = {0, 1, 3}}, {}), 0.9 * dropped);
}

TEST(Follow, ALayerTakesOverWhatDroppedOnesDid) {
  const torch::InferenceMode inference;
  Fixture f;
  const double plain = distance(f, {.keep_layers = {0, 1, 3}, .refit = false}, {});
  EXPECT_LT(distance(f, {.keep_layers = {0, 1, 3}}, {}), 0.8 * plain);
}

// Where a plan removes a block, the stream passes by and the layers behind make up for it.
TEST(Follow, ABlockMayGo) {
  const torch::InferenceMode inference;
  Fixture f;
  struct RemoveAttention : Edit {
    bool removes(const BlockEdit& edit) const override {
      return edit.source == 1 && edit.block.axis() == Axis::kv_groups;
    }
  } remove;
  std::vector<EditedLayer> layers;
  const double plain = distance(f, {.keep_layers = {0, 1, 2, 3}, .refit = false}, {&remove});
  EXPECT_LT(distance(f, {.keep_layers = {0, 1, 2, 3}}, {&remove}, &layers), 0.8 * plain);
  EXPECT_FALSE(layers[1].refitted.contains(Role::attn_output));
  EXPECT_TRUE(layers[1].refitted.contains(Role::ffn_gate));
}

TEST(Follow, HiddenChannelsGo) {
  const torch::InferenceMode inference;
  Fixture f;
  std::vector<std::int64_t> hidden(40);
  std::iota(hidden.begin(), hidden.end(), 3);
  Follow follow({.keep_layers = {0, 1, 2, 3}, .hidden = hidden}, {});
  Walk walk(f.model, f.ids, {&follow});
  walk.run();
  EXPECT_EQ(follow.edited().states.size(-1), 40);
  EXPECT_EQ(follow.layers()[2].refitted.at(Role::attn_q).size(1), 40);
  EXPECT_EQ(follow.layers()[2].refitted.at(Role::attn_output).size(0), 40);
}

TEST(Follow, CuttingAndRoundingInOnePassIsAtLeastAsGood) {
  const torch::InferenceMode inference;
  Fixture f;
  const FollowOptions options{.keep_layers = {0, 1, 2, 3}, .ridge = 0.05};
  CutFfn cut(64);
  cut.all = true;
  RoundAll round;
  std::vector<EditedLayer> layers;
  const double together = distance(f, options, {&cut, &round}, &layers);
  EXPECT_EQ(round.matrices, 4 * 7);

  // One after the other: the pruned model is rounded in a pass of its own, aimed at itself.
  distance(f, options, {&cut}, &layers);
  Fixture pruned;
  arch::ModelDims dims = f.model.dims();
  for (arch::LayerDims& l : dims.layers) l[Axis::ffn] = 64;
  pruned.model = model::Transformer::empty(f.model.arch(), dims);
  for (const auto& [key, weight] : f.model.weights())
    pruned.model.set_weight(key.first, key.second, weight);
  for (int l = 0; l < 4; ++l)
    for (const auto& [role, weight] : layers[static_cast<std::size_t>(l)].refitted)
      pruned.model.set_weight(role, l, weight);
  Follow follow(options, {&round});
  Walk walk(pruned.model, f.ids, {&follow}, {.batch_tokens = 256});
  walk.run();
  Walk exact(f.model, f.ids, {});
  exact.run();
  const double after = ((follow.edited().states - exact.stream().states).square().sum() /
                        exact.stream().states.square().sum())
                           .item<double>();
  EXPECT_LE(together, after);
}

}  // namespace
}  // namespace espalier::layerwise
