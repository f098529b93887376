// SPDX-License-Identifier: Apache-2.0
// Compensation by a bias: it is the mean of what went, only families that can hold it get one, and
// what contributes nothing leaves no bias behind.
#include "prune/bias.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "model/transformer.h"
#include "prune/pruner.h"
#include "prune/sequential.h"
#include "support/layer_sizes.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::prune {
namespace {

using arch::Axis;
using arch::Role;
using torch::Tensor;

struct Fixture {
  support::TempDir dir;
  support::TinyOptions options{
      .hidden = 64, .layers = 3, .kv_groups = 2, .q_per_kv = 2, .head_dim = 16, .ffn = 96};
  std::string directory = support::write_tiny_llama(dir.file("model"), options);
  model::Transformer model = model::Transformer::load(checkpoint::Checkpoint::open(directory), {});
  Tensor windows = [] {
    torch::manual_seed(2);
    return torch::randint(300, {10, 32}, torch::kInt64);
  }();
  SequentialResult pruned(std::int64_t ffn) const {
    return prune_sequentially({model,
                               windows,
                               criterion_by_name("weighted_rms"),
                               Compensation::bias,
                               std::nullopt,
                               {0, 1, 2},
                               std::nullopt,
                               std::vector(3, support::layer_sizes(2, 2, ffn)),
                               {},
                               {Role::ffn_down_bias}});
  }
};

TEST(Bias, OnlyFamiliesThatCanHoldIt) {
  const auto biases = [](const char* family, Axis axis) {
    const arch::Arch& arch = *arch::arch_by_name(family);
    arch::ModelDims before = support::tiny_dims({}), after = before;
    for (arch::LayerDims& l : after.layers) l[axis] = axis == Axis::ffn ? 64 : 1;
    std::vector<LayerCut> cuts;
    for (std::size_t l = 0; l < before.layers.size(); ++l)
      cuts.push_back({before.layers[l], after.layers[l]});
    const auto roles = add_biases(arch, cuts, before, after);
    return std::pair(roles, after);
  };
  const auto [ffn, with_ffn] = biases("llama", Axis::ffn);
  EXPECT_EQ(ffn, std::set{Role::ffn_down_bias});
  EXPECT_TRUE(with_ffn.mlp_bias && !with_ffn.attention_bias && !with_ffn.output_bias);
  const auto [attention, with_attention] = biases("llama", Axis::kv_groups);
  EXPECT_EQ(attention, std::set{Role::attn_output_bias});
  EXPECT_TRUE(!with_attention.mlp_bias && with_attention.attention_bias &&
              with_attention.output_bias);
  EXPECT_EQ(biases("gpt2", Axis::ffn).first, std::set{Role::ffn_down_bias});  // has it anyway
  for (const auto& [family, axis] : {std::pair("gemma3", Axis::ffn), {"qwen2", Axis::ffn}}) {
    try {
      biases(family, axis);
      ADD_FAILURE() << family;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find(std::string("ffn_down of ") + family), std::string::npos)
          << e.what();
    }
  }
}

TEST(Bias, IsTheMeanOfWhatWent) {
  const torch::InferenceMode inference;
  const Fixture f;
  const SequentialResult result = f.pruned(64);
  ASSERT_EQ(result.replaced.size(), 3u);
  const std::vector<std::int64_t>& kept = *result.layers[0][Axis::ffn];
  std::vector<std::int64_t> gone;
  for (std::int64_t i = 0; i < 96; ++i)
    if (!std::binary_search(kept.begin(), kept.end(), i)) gone.push_back(i);
  ASSERT_EQ(gone.size(), 32u);
  // Before the first cut both streams are equal: W_cut times the mean of the cut channels, each
  // token weighed by the size of the stream behind the block.
  Tensor inner;
  model::Transformer model = f.model;
  model.set_tap([&](model::Tap point, int layer, const Tensor& value) {
    if (point == model::Tap::ffn_act && layer == 0) inner = value;
  });
  const Tensor behind = model.layer(0, model.embed(f.windows)),
               weight = behind.to(torch::kFloat64).square().mean(-1, true).reciprocal(),
               cut = torch::tensor(gone);
  const Tensor mean = (inner.index_select(-1, cut) * weight).sum({0, 1}) / weight.sum();
  const Tensor expected =
      f.model.weight(Role::ffn_down, 0).index_select(1, cut).to(torch::kFloat64).matmul(mean);
  const Tensor& bias = result.replaced.at({Role::ffn_down_bias, 0});
  EXPECT_GT(expected.abs().max().item<double>(), 1e-3);
  EXPECT_LT((bias - expected).abs().max().item<double>(),
            1e-5 * expected.abs().max().item<double>() + 1e-6);
}

TEST(Bias, NothingThatGoesLeavesNothing) {
  Fixture f;
  const torch::NoGradGuard no_grad;
  for (int l = 0; l < 3; ++l)
    for (const std::int64_t c : {3, 50, 95}) f.model.weight(Role::ffn_down, l).select(1, c).zero_();
  for (const auto& [key, bias] : f.pruned(93).replaced) {
    EXPECT_EQ(key.first, Role::ffn_down_bias);
    EXPECT_LT(bias.abs().max().item<double>(), 1e-6) << key.second;
  }
  EXPECT_TRUE(f.pruned(96).replaced.empty());  // all stays
}

TEST(Bias, TheModelHasItAndFollowsTheTeacherBetter) {
  const Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  std::string words;
  for (int i = 0; i < 3000; ++i)
    words += "word" + std::to_string(i * 7919 % 997) + (i % 9 ? " " : ".\n");
  core::write_text_file(f.dir.file("text.txt"), words);
  const auto pruned = [&](Compensation compensation, const PruneOptions& base) {
    PruneOptions options = base;
    options.compensation = compensation;
    options.criterion = "weighted_rms";
    options.texts = {{f.dir.file("text.txt")}};
    options.calibration = {.tokens = 2048, .sequence = 64, .seed = 0};
    const std::string out = f.dir.file("out");
    std::filesystem::remove_all(out);
    const PruneResult result = prune(source, out, options, {});
    const auto model = checkpoint::Checkpoint::open(out);
    EXPECT_EQ(arch::parameters(model.arch(), model.dims()), result.parameters_after);
    EXPECT_EQ(check(options, source.arch(), source.dims()), model.dims());
    return model::Transformer::load(model, {});
  };
  const std::vector<std::int32_t> ids = text::Tokenizer(source.tokenizer()).encode(words);
  const Tensor text =
      torch::tensor(std::vector<std::int64_t>(ids.end() - 512, ids.end())).view({8, 64});
  const auto distance = [&](const model::Transformer& model) {
    const torch::NoGradGuard no_grad;
    const Tensor p = torch::log_softmax(f.model.forward(text), -1),
                 q = torch::log_softmax(model.forward(text), -1);
    return (p.exp() * (p - q)).sum(-1).mean().item<double>();
  };
  PruneOptions ffn, heads, layers;
  ffn.target.sizes[Axis::ffn] = 64;
  heads.target.sizes[Axis::kv_groups] = 1;
  layers.target.layers = 2;
  for (const PruneOptions* options : {&ffn, &heads, &layers}) {
    const model::Transformer with = pruned(Compensation::bias, *options),
                             without = pruned(Compensation::none, *options);
    EXPECT_EQ(with.has(Role::ffn_down_bias, 0), options != &heads);
    EXPECT_EQ(with.has(Role::attn_output_bias, 0), options == &heads);
    EXPECT_FALSE(without.has(Role::ffn_down_bias, 0));
    EXPECT_LT(distance(with), distance(without));
  }
}

}  // namespace
}  // namespace espalier::prune
