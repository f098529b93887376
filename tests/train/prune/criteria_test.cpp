// SPDX-License-Identifier: Apache-2.0
// Each criterion against its formula, computed in float64 from a forward pass by hand; gradients
// against those of one graph of the whole model.
#include <gtest/gtest.h>

#include <map>

#include "core/rng.h"
#include "prune/criterion.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::prune {
namespace {

using arch::Axis;
using arch::Role;
using model::Tap;
using torch::Tensor;

// 19 windows are three batches, the last one shorter.
constexpr std::int64_t kWindows = 19, kSequence = 24, kFfn = 40, kGroups = 2, kLayers = 3;

struct Fixture {
  support::TempDir dir;
  support::TinyOptions options{.hidden = 32,
                               .layers = kLayers,
                               .kv_groups = kGroups,
                               .q_per_kv = 2,
                               .head_dim = 8,
                               .ffn = kFfn,
                               .vocab = 320};
  std::string directory = support::write_tiny_llama(dir.file("model"), options);
  model::Transformer model = model::Transformer::load(checkpoint::Checkpoint::open(directory), {});
  Tensor windows = [] {
    Tensor ids = torch::empty({kWindows, kSequence}, torch::kInt64);
    core::Rng rng(2);
    auto* id = ids.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      id[i] = static_cast<std::int64_t>(rng.below(320));
    return ids;
  }();
  // What each tap shows, [windows, T, width] in double.
  std::map<std::pair<Tap, int>, Tensor> values = [this] {
    const torch::InferenceMode inference;
    model::Transformer watched = model;
    std::map<std::pair<Tap, int>, Tensor> out;
    watched.set_tap([&](Tap point, int layer, const Tensor& value) {
      out[{point, layer}] = value.to(torch::kFloat64);
    });
    watched.hidden(windows);
    return out;
  }();

  Tensor weight(Role role, int layer) const {
    return model.weight(role, layer).detach().to(torch::kFloat64);
  }
  Scores scores(const char* name) const {
    const Criterion& c = criterion_by_name(name);
    return score_model(model, windows, c, c.axes, {}, 3);
  }
};

void expect_near(const std::vector<double>& found, const Tensor& expected, const std::string& what,
                 double tolerance = 1e-5) {
  ASSERT_EQ(static_cast<std::int64_t>(found.size()), expected.numel()) << what;
  const Tensor e = expected.contiguous();
  const double largest = e.abs().max().item<double>();
  ASSERT_GT(largest, 0) << what;
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], e.data_ptr<double>()[i], tolerance * largest) << what << " " << i;
}
Tensor of_groups(const Tensor& channels) { return channels.view({kGroups, -1}).sum(1); }

// [windows, T, channels] -> [channels]
using Aggregate = Tensor (*)(const Tensor& x);

struct Aggregated {
  const char* name;
  Aggregate of;
};
const std::vector<Aggregated> kAggregated = {
    {"activation", [](const Tensor& x) { return x.abs().sum({0, 1}); }},
    {"activation_max", [](const Tensor& x) { return x.abs().amax({0, 1}); }},
    {"activation_mean_max", [](const Tensor& x) { return x.abs().amax(1).sum(0); }},
    {"activation_mean_rms", [](const Tensor& x) { return x.square().mean(1).sqrt().sum(0); }},
    {"activation_rms_mean", [](const Tensor& x) { return x.abs().mean(1).square().sum(0).sqrt(); }},
};

TEST(Formulas, AggregatesOfActivations) {
  const Fixture f;
  for (const auto& [name, of] : kAggregated) {
    const Scores found = f.scores(name);
    std::vector<Tensor> normed;
    for (int l = 0; l < kLayers; ++l) {
      expect_near(found.at(scores_name(Axis::ffn, l)), of(f.values.at({Tap::ffn_act, l})), name);
      expect_near(found.at(scores_name(Axis::kv_groups, l)),
                  of_groups(of(f.values.at({Tap::attn_mix, l}))), name);
      for (const Tap tap : {Tap::attn_in, Tap::ffn_in}) normed.push_back(f.values.at({tap, l}));
    }
    expect_near(found.at("hidden"), of(torch::cat(normed)), name);
  }
  const Scores rms = f.scores("activation_rms");
  const auto squares = [](const Tensor& x) { return x.square().sum({0, 1}); };
  expect_near(rms.at("ffn.1"), squares(f.values.at({Tap::ffn_act, 1})).sqrt(), "rms");
  expect_near(rms.at("kv_groups.1"), of_groups(squares(f.values.at({Tap::attn_mix, 1}))).sqrt(),
              "rms");
}

TEST(Formulas, InputsTimesWeights) {
  const Fixture f;
  const Scores wanda = f.scores("wanda_sp"), flap = f.scores("flap");
  for (int l = 0; l < kLayers; ++l)
    for (const bool ffn : {true, false}) {
      const Tensor x = f.values.at({ffn ? Tap::ffn_act : Tap::attn_mix, l}).flatten(0, 1),
                   w = f.weight(ffn ? Role::ffn_down : Role::attn_output, l);
      const auto check = [&](const Scores& scores, const Tensor& channels, const char* what) {
        expect_near(scores.at(scores_name(ffn ? Axis::ffn : Axis::kv_groups, l)),
                    ffn ? channels : of_groups(channels), what);
      };
      check(wanda, x.square().sum(0).sqrt() * w.abs().sum(0), "wanda_sp");
      check(flap, x.var(0, /*unbiased=*/true) * w.square().sum(0), "flap");
    }
}

TEST(Formulas, NormsOfCoupledGroups) {
  const Fixture f;
  for (const int p : {1, 2}) {
    const Scores found = f.scores(p == 1 ? "magnitude_l1" : "magnitude_l2");
    const auto power = [&](const Tensor& w) { return p == 1 ? w.abs() : w.square(); };
    const auto root = [&](const Tensor& sum) { return p == 1 ? sum : sum.sqrt(); };
    Tensor hidden = power(f.weight(Role::token_embd, -1)).sum(0);
    for (int l = 0; l < kLayers; ++l) {
      Tensor ffn = power(f.weight(Role::ffn_down, l)).sum(0),
             groups = of_groups(power(f.weight(Role::attn_output, l)).sum(0));
      for (const Role r : {Role::ffn_gate, Role::ffn_up}) ffn += power(f.weight(r, l)).sum(1);
      for (const Role r : {Role::attn_q, Role::attn_k, Role::attn_v})
        groups += of_groups(power(f.weight(r, l)).sum(1));
      for (const Role r : {Role::attn_q, Role::attn_k, Role::attn_v, Role::ffn_gate, Role::ffn_up})
        hidden += power(f.weight(r, l)).sum(0);
      for (const Role r : {Role::attn_output, Role::ffn_down})
        hidden += power(f.weight(r, l)).sum(1);
      expect_near(found.at(scores_name(Axis::ffn, l)), root(ffn), "ffn");
      expect_near(found.at(scores_name(Axis::kv_groups, l)), root(groups), "kv_groups");
    }
    expect_near(found.at("hidden"), root(hidden), "hidden");
    // Also of a model whose layers are read when they are needed.
    const auto source = checkpoint::Checkpoint::open(f.directory);
    const Criterion& c = criterion_by_name(p == 1 ? "magnitude_l1" : "magnitude_l2");
    EXPECT_EQ(score_model(model::Transformer::open(source), f.windows, c, c.axes, {}).all,
              found.all);
  }
}

TEST(Formulas, TaylorByElement) {
  const Fixture f;
  const model::Transformer model =
      model::Transformer::load(checkpoint::Checkpoint::open(f.directory), {.trainable = true});
  const Tensor logits = model.forward(f.windows).narrow(1, 0, kSequence - 1).flatten(0, 1),
               targets = f.windows.narrow(1, 1, kSequence - 1).reshape({-1, 1});
  (torch::logsumexp(logits, -1) - logits.gather(1, targets).squeeze(1)).mean().backward();
  const auto product = [&](Role role, int layer) {
    const Tensor& w = model.weight(role, layer);
    return (w.detach() * w.grad()).to(torch::kFloat64);
  };
  const Scores by_element = f.scores("taylor_elements"), by_group = f.scores("taylor");
  for (int l = 0; l < kLayers; ++l) {
    const Tensor down = product(Role::ffn_down, l), up = product(Role::ffn_up, l),
                 gate = product(Role::ffn_gate, l);
    expect_near(by_element.at(scores_name(Axis::ffn, l)),
                down.abs().sum(0) + up.abs().sum(1) + gate.abs().sum(1), "elements", 1e-3);
    expect_near(by_group.at(scores_name(Axis::ffn, l)),
                (down.sum(0) + up.sum(1) + gate.sum(1)).abs(), "group", 1e-3);
  }
}

// A channel far from zero that hardly moves: sums of squares would lose its variance.
TEST(Formulas, FluctuationOfAChannelWithALargeMean) {
  const arch::Block& block = arch::block_of(support::llama(), Axis::ffn);
  const Statistic& fluctuation = statistic_by_name("fluctuation");
  core::Rng rng(4);
  Tensor x = torch::empty({3, 50, 2});
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data_ptr<float>()[i] = static_cast<float>((i % 2 == 0 ? 3000 : 0) + rng.normal());
  Sums sums;
  for (std::int64_t b = 0; b < 3; ++b)
    fluctuation.add(sums, {&block, true}, 5, x.narrow(0, b, 1), {});
  const Tensor all = x.flatten(0, 1).to(torch::kFloat64);
  EXPECT_EQ(sums.at("ffn.count", 5).item<double>(), 150);
  EXPECT_LT((sums.at("ffn.mean", 5) - all.mean(0)).abs().max().item<double>(), 1e-9);
  const Tensor expected = all.var(0, true) * 149;
  EXPECT_LT(((sums.at("ffn.deviations", 5) - expected).abs() / expected).max().item<double>(),
            1e-5);
}

TEST(Formulas, RandomIsOfTheSeedAlone) {
  const Fixture f;
  const Criterion& random = criterion_by_name("random");
  const auto draw = [&](std::uint64_t seed, Axis axis, int layer) {
    return random.score({f.model, {}, seed}, axis, layer);
  };
  EXPECT_EQ(draw(1, Axis::ffn, 0), draw(1, Axis::ffn, 0));
  EXPECT_NE(draw(1, Axis::ffn, 0), draw(2, Axis::ffn, 0));
  EXPECT_NE(draw(1, Axis::ffn, 0), draw(1, Axis::ffn, 1));
  EXPECT_NE(draw(1, Axis::kv_groups, 0)[0], draw(1, Axis::ffn, 0)[0]);
  double sum = 0;
  for (int l = 0; l < kLayers; ++l)
    for (const double v : draw(1, Axis::ffn, l)) {
      EXPECT_TRUE(v >= 0 && v < 1);
      sum += v;
    }
  EXPECT_NEAR(sum / (kLayers * kFfn), 0.5, 0.1);
  EXPECT_EQ(draw(1, Axis::hidden, -1).size(), 32u);
  const layerwise::WalkOptions walk;
  EXPECT_NE(random.layers({f.model, f.windows, walk, 1}),
            random.layers({f.model, f.windows, walk, 2}));
}

}  // namespace
}  // namespace espalier::prune
