// SPDX-License-Identifier: Apache-2.0
// The training-side model against transformers' logits (tests/golden, by scripts/golden/model.py),
// its taps, gradients and files.
#include "model/transformer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "core/error.h"
#include "model/host_rows.h"

#include "support/golden_models.h"
#include "support/layer_sizes.h"
#include "support/negative_controls.h"
#include "support/temp_dir.h"
#include "support/triples.h"

namespace espalier::model {
namespace {

using arch::Role;
using checkpoint::Checkpoint;
using torch::Tensor;

struct Golden : support::GoldenModel {
  Tensor ids, logits;
};
Golden golden(const std::string& name) {
  Golden g{support::golden_model(name), {}, {}};
  const auto B = static_cast<std::int64_t>(g.sequences.size());
  for (const auto& sequence : g.sequences) {
    const Tensor row =
        torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end()), torch::kInt64);
    g.ids = g.ids.defined() ? torch::cat({g.ids, row}) : row;
  }
  g.ids = g.ids.view({B, -1});
  g.logits = torch::tensor(g.values).view({B, g.ids.size(1), -1});
  return g;
}
double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

arch::ModelDims small_dims() {
  arch::ModelDims d;
  d.vocab = 50, d.hidden = 24, d.head_dim = 6, d.positions = 64, d.tied = true;
  d.layers =
      support::layer_list({{2, 3, 20},
                           {1, 2, 0},
                           {0, 0, 28},
                           {1, 4, 33}});  // an absent FFN, an absent attention, unequal sizes
  return d;
}
const arch::Arch& llama() { return *arch::arch_by_gguf_name("llama"); }

// Logits, what is saved and loaded, a layer at a time; three controls, four where positions are
// scaled linearly, or seven where there are factors.
[[maybe_unused]] const auto* const kTriples = testing::AddGlobalTestEnvironment(
    new support::Triples("training side", 3 * 38 + 3 * 38 + 2 + 4 * 4));

class GoldenLogits : public testing::TestWithParam<const char*> {};

TEST_P(GoldenLogits, EqualTransformers) {
  torch::NoGradGuard no_grad;
  const Golden g = golden(GetParam());
  const Transformer model = Transformer::load(Checkpoint::open(g.directory), {});
  const Tensor logits = model.forward(g.ids);
  ASSERT_EQ(logits.sizes(), g.logits.sizes());
  const double spread = g.logits.std().item<double>();
  ASSERT_GE(spread, 0.8);
  EXPECT_LT(distance(logits, g.logits), 1e-4 * spread);
  support::Triples::passed(model.arch().name, GetParam(), "logits");
}
// At the distances that transformers measured, so the controls do the same thing in both.
TEST_P(GoldenLogits, NegativeControlsAreSeen) {
  torch::NoGradGuard no_grad;
  const Golden g = golden(GetParam());
  const Checkpoint source = Checkpoint::open(g.directory);
  const auto controls = support::negative_controls(source);
  EXPECT_EQ(controls.size(), g.control_distances.size());
  for (const auto& [control, wrong] : controls) {
    const double expected = g.control_distances.at(control);
    EXPECT_NEAR(distance(wrong.forward(g.ids), g.logits), expected, 1e-3 * expected) << control;
    support::Triples::passed(source.arch().name, GetParam(), "wrong: " + control);
  }
}
TEST_P(GoldenLogits, SavedAndLoadedIsTheSame) {
  torch::NoGradGuard no_grad;
  const Golden g = golden(GetParam());
  const Checkpoint source = Checkpoint::open(g.directory);
  const Transformer model = Transformer::load(source, {});
  support::TempDir temp;
  model.save(temp.file("copy"), source, {});
  const Transformer copy = Transformer::load(Checkpoint::open(temp.file("copy")), {});
  ASSERT_EQ(copy.weights().size(), model.weights().size());
  EXPECT_TRUE(copy.dims() == model.dims());
  EXPECT_TRUE(torch::equal(copy.forward(g.ids), model.forward(g.ids)));
  support::Triples::passed(source.arch().name, GetParam(), "saved and loaded");
}
TEST_P(GoldenLogits, ALayerAtATimeIsTheSame) {
  torch::NoGradGuard no_grad;
  const Golden g = golden(GetParam());
  const Checkpoint source = Checkpoint::open(g.directory);
  const Transformer whole = Transformer::load(source, {});
  Transformer model = Transformer::open(source);
  Tensor x = model.embed(g.ids);
  for (int l = 0; l < static_cast<int>(source.dims().n_layers()); ++l) {
    model.load_layer(l);
    x = model.layer(l, x);
    model.unload_layer(l);
    EXPECT_FALSE(model.has(Role::ffn_down, l));
  }
  EXPECT_TRUE(torch::equal(model.final_norm(x), whole.hidden(g.ids)));
  EXPECT_TRUE(
      torch::equal(model.rows(Role::token_embd, -1, 3, 5), whole.rows(Role::token_embd, -1, 3, 5)));
  support::Triples::passed(source.arch().name, GetParam(), "a layer at a time");
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenLogits, testing::ValuesIn(support::kGoldenModels),
                         [](const auto& test) { return std::string(test.param); });

TEST(Transformer, LayersMayDifferAndLackBlocks) {
  torch::NoGradGuard no_grad;
  const Transformer model = Transformer::random(llama(), small_dims(), {}, 7);
  const Tensor ids = torch::randint(50, {2, 9}, torch::kInt64);
  const Tensor logits = model.forward(ids);
  EXPECT_EQ(logits.sizes(), (std::vector<std::int64_t>{2, 9, 50}));
  EXPECT_TRUE(torch::isfinite(logits).all().item<bool>());
  EXPECT_GE(logits.std().item<double>(), 0.8);
  // Causal: later tokens do not reach earlier logits.
  Tensor other = ids.clone();
  other.narrow(1, 6, 3).fill_(3);
  EXPECT_LT(distance(model.forward(other).narrow(1, 0, 6), logits.narrow(1, 0, 6)), 1e-5);
}

TEST(Transformer, SteppingThroughTheLayersIsHidden) {
  torch::NoGradGuard no_grad;
  Transformer model = Transformer::random(llama(), small_dims(), {}, 8);
  const Tensor ids = torch::randint(50, {1, 12}, torch::kInt64);
  std::multiset<Tap> points;
  Tensor last;
  model.set_tap([&](Tap point, int, const Tensor& value) {
    points.insert(point);
    if (point == Tap::layer_out) last = value;
    EXPECT_EQ(value.size(1), 12);
  });
  const Tensor hidden = model.hidden(ids);
  EXPECT_EQ(points.count(Tap::layer_in), 4u);
  EXPECT_EQ(points.count(Tap::layer_out), 4u);
  for (const Tap p :
       {Tap::attn_in, Tap::attn_mix, Tap::attn_out, Tap::ffn_in, Tap::ffn_act, Tap::ffn_out})
    EXPECT_EQ(points.count(p), 3u) << static_cast<int>(p);
  EXPECT_EQ(points.count(Tap::output_norm), 1u);
  model.set_tap({});
  Tensor x = model.embed(ids);
  for (int l = 0; l < 4; ++l) x = model.layer(l, x);
  EXPECT_TRUE(torch::equal(x, last));
  EXPECT_EQ(hidden.size(-1), 24);
}

// Every weight's gradient against a central difference along a random direction, in the float32
// that training uses.
TEST(Transformer, GradientsMatchDifferences) {
  torch::manual_seed(9);
  Transformer model = Transformer::random(llama(), small_dims(), {.trainable = true}, 9);
  const Tensor ids = torch::randint(50, {2, 8}, torch::kInt64),
               probe = torch::randn({2, 8, 50}) / 30;
  const auto value = [&] { return (model.forward(ids) * probe).sum(); };
  value().backward();
  torch::NoGradGuard no_grad;
  int checked = 0;
  for (const auto& [key, weight] : model.weights()) {
    if (weight.numel() == 0 || !weight.grad().defined()) continue;
    const Tensor direction = torch::sign(weight.grad());
    const double step = 1e-3, slope = (weight.grad() * direction).sum().item<double>();
    weight.add_(direction, step);
    const double above = value().item<double>();
    weight.add_(direction, -2 * step);
    const double below = value().item<double>();
    weight.add_(direction, step);
    EXPECT_NEAR((above - below) / (2 * step), slope, 0.02 * std::abs(slope) + 2e-3)
        << arch::gguf_name(key.first, key.second);
    ++checked;
  }
  EXPECT_EQ(
      checked,
      2 + 4 * 9 - 4 -
          5);  // two of model scope; nine a layer but the absent FFN's and the absent attention's
}

// As for a device whose memory the host cannot address: blocks of a few rows, and rows longer than
// the buffer.
TEST(Transformer, WeightsThroughABufferAreTheSame) {
  const Checkpoint source = Checkpoint::open(support::golden_model("gpt2_a").directory);
  const Transformer model = Transformer::load(source, {});
  HostRows rows(source);
  for (const auto& [key, weight] : model.weights())
    for (const std::int64_t values : {1, 100, 1000000}) {
      if (weight.numel() == 0) continue;
      const Tensor out = torch::full_like(weight, NAN);
      rows.read_through(key.first, key.second, 0, out, values);
      EXPECT_TRUE(torch::equal(out, weight)) << arch::gguf_name(key.first, key.second);
    }
  EXPECT_THROW(host_values(torch::empty({3}, torch::TensorOptions(torch::kMeta))), core::Error);
}

TEST(Transformer, OnMetaThereAreShapes) {
  const Checkpoint source = Checkpoint::open(support::golden_model("tied").directory);
  const Transformer model = Transformer::load(source, {.device = torch::kMeta});
  const torch::InferenceMode inference;
  const Tensor logits = model.forward(torch::zeros({2, 5}, torch::kInt64));
  EXPECT_TRUE(logits.is_meta());
  EXPECT_EQ(logits.sizes(), (std::vector<std::int64_t>{2, 5, source.dims().vocab}));
}

TEST(Transformer, RefusesOtherPrecisions) {
  EXPECT_THROW(Transformer(llama(), small_dims(), {.matmul_dtype = torch::kFloat16}), core::Error);
}

}  // namespace
}  // namespace espalier::model
