// SPDX-License-Identifier: Apache-2.0
// Gradients of the walk back against those of transformers in float64 (tests/golden/gradients_*, by
// scripts/golden/gradients.py), and against autograd over the whole model.
#include "layerwise/backward.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/functional/loss.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "support/golden_models.h"
#include "support/layer_sizes.h"

namespace espalier::layerwise {
namespace {

using arch::Role;
using checkpoint::Checkpoint;
using model::Tap;
using torch::Tensor;

double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

struct Watcher : Visitor {
  std::map<std::pair<Role, int>, Tensor> sums;
  std::map<std::tuple<Tap, int, std::int64_t>, Tensor> values, gradients;
  std::vector<int> layers;
  void layer_begin(model::Transformer& model, int layer) override {
    for (const auto& [key, weight] : model.weights())
      EXPECT_TRUE(!on_disk || key.second == layer || key.second < 0);
    layers.push_back(layer);
  }
  void see(Tap point, int layer, std::int64_t window, const Tensor& value) override {
    EXPECT_EQ(value.size(0), 1);
    values[{point, layer, window}] = value;
  }
  void see_gradient(Tap point, int layer, std::int64_t window, const Tensor& value,
                    const Tensor& gradient) override {
    EXPECT_TRUE(torch::equal(value, values.at({point, layer, window})));
    gradients[{point, layer, window}] = gradient.clone();
  }
  void see_weight(Role role, int layer, std::int64_t, const Tensor& weight,
                  const Tensor& gradient) override {
    EXPECT_EQ(weight.sizes(), gradient.sizes());
    Tensor& sum = sums[{role, layer}];
    sum = sum.defined() ? sum + gradient : gradient;
  }
  double norm(Tap point, int layer) const {  // over all windows
    double squares = 0;
    for (const auto& [key, gradient] : gradients)
      if (std::get<0>(key) == point && std::get<1>(key) == layer)
        squares += gradient.square().sum().item<double>();
    return std::sqrt(squares);
  }
  bool on_disk = false;
};

Tensor ids_of(const support::GoldenModel& golden) {
  Tensor ids;
  for (const auto& sequence : golden.sequences) {
    const Tensor row =
        torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end())).unsqueeze(0);
    ids = ids.defined() ? torch::cat({ids, row}) : row;
  }
  return ids;
}

class GoldenGradients : public testing::TestWithParam<const char*> {};

// All in float32, and with our exp: five digits of the largest gradient of each weight.
TEST_P(GoldenGradients, EqualTransformersInFloat64) {
  const std::string name = GetParam();
  const support::GoldenModel golden = support::golden_model(name);
  const std::string folder = std::string(ESPALIER_SOURCE_DIR "/tests/golden/gradients_") + name;
  const auto loss = nlohmann::json::parse(core::read_text_file(folder + "/loss.json"));
  const auto expected = model::Transformer::load(Checkpoint::open(folder), {});
  const auto source = Checkpoint::open(golden.directory);
  const auto L = static_cast<int>(source.dims().n_layers());
  for (const bool on_disk : {true, false}) {
    Watcher watcher;
    watcher.on_disk = on_disk;
    const double found =
        walk_back(on_disk ? model::Transformer::open(source) : model::Transformer::load(source, {}),
                  ids_of(golden), {&watcher}, {.batch_tokens = on_disk ? 1 : text::kBatchTokens});
    EXPECT_NEAR(found, loss.at("loss").get<double>(), 1e-5);
    std::size_t compared = 0;
    for (const auto& [key, gradient] : expected.weights()) {
      if (key.second < 0) continue;
      const double largest = gradient.abs().max().item<double>();
      ASSERT_GT(largest, 1e-4) << arch::gguf_name(key.first, key.second);
      EXPECT_LT(distance(watcher.sums.at(key), gradient), 1e-5 * largest)
          << arch::gguf_name(key.first, key.second);
      ++compared;
    }
    EXPECT_EQ(compared, watcher.sums.size());
    ASSERT_EQ(watcher.layers.size(), static_cast<std::size_t>(L));
    for (int l = 0; l < L; ++l) {
      EXPECT_EQ(watcher.layers[static_cast<std::size_t>(l)], L - 1 - l);
      const double norm = loss.at("norms_of_states").at(static_cast<std::size_t>(l)).get<double>();
      EXPECT_NEAR(watcher.norm(Tap::layer_in, l), norm, 1e-5 * norm);
      for (std::int64_t w = 0; l > 0 && w < 2; ++w)
        EXPECT_TRUE(torch::equal(watcher.gradients.at({Tap::layer_in, l, w}),
                                 watcher.gradients.at({Tap::layer_out, l - 1, w})));
      for (const Tap point : {Tap::layer_in, Tap::attn_in, Tap::attn_mix, Tap::attn_out,
                              Tap::ffn_in, Tap::ffn_act, Tap::ffn_out, Tap::layer_out})
        EXPECT_GT(watcher.norm(point, l), 0) << static_cast<int>(point);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenGradients,
                         testing::Values("untied", "qwen2_a", "gemma2_a", "phi3_a", "granite_b"),
                         [](const auto& test) { return std::string(test.param); });

// A vocabulary of several blocks of rows with a soft-cap, layers that lack a block, and a loss
// whose parts are those of single windows.
TEST(WalkBack, EqualsAutogradOverTheWholeModel) {
  arch::ModelDims dims;
  dims.vocab = 9000, dims.hidden = 24, dims.head_dim = 6, dims.positions = 64, dims.tied = true;
  dims.logit_softcap = 2;
  dims.layers = support::layer_list({{2, 3, 20}, {1, 2, 0}, {0, 0, 28}, {1, 4, 33}});
  const auto model = model::Transformer::random(*arch::arch_by_gguf_name("llama"), dims, {}, 3);
  torch::manual_seed(5);
  const Tensor ids = torch::randint(9000, {3, 11}, torch::kInt64);
  Watcher watcher;
  const double found = walk_back(model, ids, {&watcher}, {.batch_tokens = 22});

  model::Transformer whole = model;
  for (const auto& [key, weight] : model.weights())
    whole.set_weight(key.first, key.second, weight.clone().requires_grad_(true));
  const auto loss_of = [&](const Tensor& windows) {
    return torch::nn::functional::cross_entropy(
        whole.forward(windows).narrow(1, 0, 10).flatten(0, 1), windows.narrow(1, 1, 10).flatten());
  };
  const Tensor second =
      torch::autograd::grad({loss_of(ids.narrow(0, 1, 1)) / 3}, {whole.weight(Role::ffn_up, 3)})[0];
  const Tensor loss = loss_of(ids);
  loss.backward();
  EXPECT_NEAR(found, loss.item<double>(), 1e-5);
  EXPECT_EQ(watcher.sums.size(), 9u + 5 + 4 + 9 + 4 - 4);
  for (const auto& [key, sum] : watcher.sums) {
    const Tensor expected = whole.weight(key.first, key.second).grad();
    EXPECT_LT(distance(sum, expected), 1e-5 * expected.abs().max().item<double>())
        << arch::gguf_name(key.first, key.second);
    EXPECT_FALSE(model.weight(key.first, key.second).requires_grad());
  }
  struct Second : Watcher {
    void see_weight(Role role, int layer, std::int64_t window, const Tensor& weight,
                    const Tensor& gradient) override {
      if (window == 1) Watcher::see_weight(role, layer, window, weight, gradient);
    }
  } only;
  walk_back(model, ids, {&only});
  EXPECT_LT(distance(only.sums.at({Role::ffn_up, 3}), second),
            1e-5 * second.abs().max().item<double>());
}

TEST(WalkBack, RefusesWhatHasNoGradient) {
  const support::GoldenModel golden = support::golden_model("untied");
  const auto model = model::Transformer::load(Checkpoint::open(golden.directory), {});
  EXPECT_THROW(walk_back(model, torch::zeros({2, 1}, torch::kInt64), {}), core::Error);
  const torch::InferenceMode inference;
  EXPECT_THROW(walk_back(model, ids_of(golden), {}), core::Error);
}

}  // namespace
}  // namespace espalier::layerwise
