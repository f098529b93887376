// SPDX-License-Identifier: Apache-2.0
// Activation statistics against sums made by hand in double from a forward pass of one window at a
// time.
#include "prune/statistics.h"

#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "core/rng.h"
#include "prune/influence.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::prune {
namespace {

using torch::Tensor;

// Windows come eight to a forward: 19 are three, the last one shorter.
constexpr std::int64_t kWindows = 19, kSequence = 24;
// Float32 products over at most 8 windows, and batches of another size in the forward pass.
constexpr double kTolerance = 1e-5;

struct Fixture {
  support::TempDir dir;
  support::TinyOptions options{.hidden = 32,
                               .layers = 2,
                               .kv_groups = 1,
                               .q_per_kv = 2,
                               .head_dim = 8,
                               .ffn = 40,
                               .vocab = 320};
  std::string directory = support::write_tiny_llama(dir.file("model"), options);
  model::Transformer model = model::Transformer::load(checkpoint::Checkpoint::open(directory), {});
  Tensor windows = [this] {
    Tensor ids = torch::empty({kWindows, kSequence}, torch::kInt64);
    core::Rng rng(2);
    auto* id = ids.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      id[i] = static_cast<std::int64_t>(rng.below(320));
    return ids;
  }();
};

// Values of each tap point: [tokens, width] in double.
std::map<std::pair<model::Tap, int>, Tensor> values_by_hand(const Fixture& f,
                                                            const Tensor& windows) {
  const torch::InferenceMode inference;
  model::Transformer model = f.model;
  std::map<std::pair<model::Tap, int>, std::vector<Tensor>> seen;
  model.set_tap([&](model::Tap point, int layer, const Tensor& value) {
    seen[{point, layer}].push_back(value.flatten(0, 1).to(torch::kFloat64));
  });
  for (const Tensor& window : windows.split(1)) model.hidden(window);
  std::map<std::pair<model::Tap, int>, Tensor> out;
  for (const auto& [key, rows] : seen) out[key] = torch::cat(rows);
  return out;
}

double relative(const Tensor& found, const Tensor& expected) {
  return ((found - expected).abs() / expected.abs()).max().item<double>();
}
double gram_error(const Tensor& found, const Tensor& x) {
  const Tensor expected = x.t().matmul(x), norm = expected.diagonal().sqrt();
  return ((found - expected).abs() / norm.outer(norm)).max().item<double>();
}

const StatisticNames kAll{"channel_moments", "second_moments"};

Sums collected(const Fixture& f, const Tensor& windows, const StatisticNames& names,
               std::vector<layerwise::Visitor*> others = {}) {
  return collect(f.model, windows, names, {}, {}, std::move(others));
}

TEST(Statistics, EqualThoseMadeByHand) {
  const Fixture f;
  Influence influence(kWindows), of_first(3);
  const Sums found = collected(f, f.windows, kAll, {&influence, &of_first});
  auto values = values_by_hand(f, f.windows);
  Tensor hidden_abs = torch::zeros({32}, torch::kFloat64), hidden_squares = hidden_abs.clone();
  for (int l = 0; l < 2; ++l) {
    const Tensor ffn = values.at({model::Tap::ffn_act, l}),
                 attn = values.at({model::Tap::attn_mix, l});
    EXPECT_LT(relative(found.at("ffn.abs", l), ffn.abs().sum(0)), kTolerance);
    EXPECT_LT(relative(found.at("ffn.squares", l), ffn.square().sum(0)), kTolerance);
    EXPECT_LT(relative(found.at("kv_groups.abs", l), attn.abs().sum(0)), kTolerance);
    EXPECT_LT(relative(found.at("kv_groups.squares", l), attn.square().sum(0)), kTolerance);
    EXPECT_LT(gram_error(found.at("ffn.gram", l), ffn), kTolerance);
    EXPECT_LT(gram_error(found.at("kv_groups.gram", l), attn), kTolerance);
    // The same comparisons see one token that is missing.
    EXPECT_GT(relative(found.at("ffn.abs", l), ffn.slice(0, 1).abs().sum(0)), kTolerance);
    EXPECT_GT(gram_error(found.at("ffn.gram", l), ffn.slice(0, 1)), kTolerance);
    for (model::Tap point : {model::Tap::attn_in, model::Tap::ffn_in}) {
      hidden_abs += values.at({point, l}).abs().sum(0);
      hidden_squares += values.at({point, l}).square().sum(0);
    }
    const auto expected = [&](std::int64_t windows) {
      const Tensor in = values.at({model::Tap::layer_in, l}).slice(0, 0, windows * kSequence),
                   out = values.at({model::Tap::layer_out, l}).slice(0, 0, windows * kSequence);
      return 1 - torch::cosine_similarity(in, out, -1).mean().item<double>();
    };
    EXPECT_NEAR(influence.of_layers.at(static_cast<std::size_t>(l)), expected(kWindows), 1e-5);
    EXPECT_NEAR(of_first.of_layers.at(static_cast<std::size_t>(l)), expected(3), 1e-5);
    EXPECT_GT(expected(kWindows), 0.01);
  }
  EXPECT_LT(relative(found.at("hidden.abs", -1), hidden_abs), kTolerance);
  EXPECT_LT(relative(found.at("hidden.squares", -1), hidden_squares), kTolerance);
}

TEST(Statistics, WindowsDoNotSeeOneAnother) {
  const Fixture f;
  const Sums forwards = collected(f, f.windows, kAll),
             backwards = collected(f, f.windows.flip(0), kAll);
  for (int l = 0; l < 2; ++l)
    EXPECT_LT(relative(backwards.at("ffn.squares", l), forwards.at("ffn.squares", l)), kTolerance);
}

TEST(Statistics, OnlyWhatIsWantedIsCollectedAndALayersSumsAreFreed) {
  const Fixture f;
  const Sums found = collected(f, f.windows, {"second_moments"});
  EXPECT_EQ(found.all.size(), 4u);  // of both blocks in both layers
  EXPECT_THROW(static_cast<void>(found.at("ffn.abs", 0)), core::Error);
  std::vector<int> layers;
  const Sums left = collect(f.model, f.windows, kAll, {},
                            [&](const model::Transformer&, const Sums& sums, int layer) {
                              layers.push_back(layer);
                              EXPECT_TRUE(sums.at("ffn.gram", layer).defined());
                            });
  EXPECT_EQ(layers, (std::vector<int>{0, 1}));
  EXPECT_EQ(left.all.size(), 2u);  // of the stream
}

// The memory estimate counts what is held of a layer and of the model.
TEST(Statistics, BytesAreThoseThatAreHeld) {
  const Fixture f;
  for (const Statistic* s : all_statistics()) {
    std::int64_t held = 0;
    collect(f.model, f.windows, {s->name}, {},
            [&](const model::Transformer&, const Sums& sums, int) {
              std::int64_t now = 0;
              for (const auto& [key, sum] : sums.all)
                now += static_cast<std::int64_t>(sum.nbytes());
              held = std::max(held, now);
            });
    const std::int64_t predicted = bytes_of({s->name}, f.model.arch(), f.model.dims());
    EXPECT_LE(held, predicted) << s->name;
    EXPECT_GE(8 * held, predicted) << s->name;
  }
}

// Each window's part of the loss is half of the loss of that window alone.
TEST(Statistics, SquaredGradientsAreThoseOfWindows) {
  const Fixture f;
  const Sums found = collected(f, f.windows.slice(0, 0, 2), {"gradients", "squared_gradients"});
  const Tensor first =
                   collected(f, f.windows.slice(0, 0, 1), {"gradients"}).at("ffn_up.gradients", 1) /
                   2,
               second = found.at("ffn_up.gradients", 1) - first;
  const Tensor expected = first.square() + second.square();
  EXPECT_LT((found.at("ffn_up.squared_gradients", 1) - expected).abs().max().item<double>(),
            1e-4 * expected.max().item<double>());
}

}  // namespace
}  // namespace espalier::prune
