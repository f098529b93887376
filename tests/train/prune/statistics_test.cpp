// SPDX-License-Identifier: Apache-2.0
// Activation statistics against sums made by hand in double from a forward pass of one window at a
// time.
#include "prune/statistics.h"

#include <gtest/gtest.h>

#include <map>

#include "core/rng.h"
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

const std::set<Statistic> kAll{Statistic::channel_moments, Statistic::ffn_gram,
                               Statistic::attn_gram, Statistic::block_influence};

TEST(Statistics, EqualThoseMadeByHand) {
  const Fixture f;
  const Statistics found = collect(f.model, f.windows, kAll, {});
  auto values = values_by_hand(f, f.windows);
  EXPECT_EQ(found.tokens, kWindows * kSequence);
  ASSERT_EQ(found.layers.size(), 2u);
  Tensor hidden_abs = torch::zeros({32}, torch::kFloat64), hidden_squares = hidden_abs.clone();
  for (int l = 0; l < 2; ++l) {
    const LayerStatistics& s = found.layers[static_cast<std::size_t>(l)];
    const Tensor ffn = values.at({model::Tap::ffn_act, l}),
                 attn = values.at({model::Tap::attn_mix, l});
    EXPECT_LT(relative(s.ffn_abs, ffn.abs().sum(0)), kTolerance);
    EXPECT_LT(relative(s.ffn_squares, ffn.square().sum(0)), kTolerance);
    EXPECT_LT(relative(s.attn_abs, attn.abs().sum(0)), kTolerance);
    EXPECT_LT(relative(s.attn_squares, attn.square().sum(0)), kTolerance);
    EXPECT_LT(gram_error(s.ffn_gram, ffn), kTolerance);
    EXPECT_LT(gram_error(s.attn_gram, attn), kTolerance);
    // The same comparisons see one token that is missing.
    EXPECT_GT(relative(s.ffn_abs, ffn.slice(0, 1).abs().sum(0)), kTolerance);
    EXPECT_GT(gram_error(s.ffn_gram, ffn.slice(0, 1)), kTolerance);
    for (model::Tap point : {model::Tap::attn_in, model::Tap::ffn_in}) {
      hidden_abs += values.at({point, l}).abs().sum(0);
      hidden_squares += values.at({point, l}).square().sum(0);
    }
    const Tensor in = values.at({model::Tap::layer_in, l}),
                 out = values.at({model::Tap::layer_out, l});
    const double cosine = torch::cosine_similarity(in, out, -1).mean().item<double>();
    EXPECT_NEAR(s.block_influence, 1 - cosine, 1e-5);
    EXPECT_GT(s.block_influence, 0.01);
  }
  EXPECT_LT(relative(found.hidden_abs, hidden_abs), kTolerance);
  EXPECT_LT(relative(found.hidden_squares, hidden_squares), kTolerance);
}

TEST(Statistics, WindowsDoNotSeeOneAnother) {
  const Fixture f;
  const Statistics forwards = collect(f.model, f.windows, kAll, {}),
                   backwards = collect(f.model, f.windows.flip(0), kAll, {});
  for (std::size_t l = 0; l < 2; ++l) {
    EXPECT_LT(relative(backwards.layers[l].ffn_squares, forwards.layers[l].ffn_squares),
              kTolerance);
    EXPECT_NEAR(backwards.layers[l].block_influence, forwards.layers[l].block_influence, 1e-5);
  }
}

TEST(Statistics, OnlyWhatIsWantedIsCollected) {
  const Fixture f;
  const Statistics found = collect(f.model, f.windows, {Statistic::ffn_gram}, {});
  EXPECT_TRUE(found.layers[0].ffn_gram.defined());
  EXPECT_FALSE(found.layers[0].attn_gram.defined());
  EXPECT_FALSE(found.layers[0].ffn_abs.defined());
  EXPECT_FALSE(found.hidden_abs.defined());
}

}  // namespace
}  // namespace espalier::prune
