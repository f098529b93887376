// SPDX-License-Identifier: Apache-2.0
// Stacks of matrices, blocks that stand in for each other, and what a token uses of a model.
#include <gtest/gtest.h>

#include "arch/arch.h"
#include "core/error.h"
#include "support/layer_sizes.h"

namespace espalier::arch {
namespace {

const Arch& qwen3moe() { return *arch_by_name("qwen3moe"); }

LayerDims sparse(std::int64_t experts, std::int64_t expert_ffn, std::int64_t used) {
  return {.sizes = {{Axis::kv_groups, 4},
                    {Axis::q_per_kv, 8},
                    {Axis::experts, experts},
                    {Axis::expert_ffn, expert_ffn},
                    {Axis::experts_per_token, used}}};
}

ModelDims some_dims() {  // of Qwen3-30B-A3B, with two layers
  ModelDims d;
  d.vocab = 151936;
  d.hidden = 2048;
  d.head_dim = 128;
  d.positions = 40960;
  d.layers = {sparse(128, 768, 8), support::layer_sizes(4, 8, 6144)};
  return d;
}

TEST(Experts, AStackIsOneTensorOfThreeDimensions) {
  const TensorRef gate = tensor_ref(qwen3moe(), some_dims(), Role::ffn_gate_exps, 0),
                  down = tensor_ref(qwen3moe(), some_dims(), Role::ffn_down_exps, 0),
                  router = tensor_ref(qwen3moe(), some_dims(), Role::ffn_gate_inp, 0);
  EXPECT_EQ(gate.shape(), (std::vector<std::int64_t>{128, 768, 2048}));
  EXPECT_EQ(gate.gguf_shape(), (std::vector<std::int64_t>{2048, 768, 128}));
  EXPECT_EQ(down.shape(), (std::vector<std::int64_t>{128, 2048, 768}));
  EXPECT_EQ(router.shape(), (std::vector<std::int64_t>{128, 2048}));
  EXPECT_EQ(gate.rows, 128 * 768);
  EXPECT_EQ(gate.row_length(), 2048);
  EXPECT_EQ(gate.stack, 128);
  EXPECT_EQ(gate.used, 8);
  EXPECT_EQ(router.stack, 1);
  EXPECT_EQ(with_indices(gate.spec->hf, 3, 17), "model.layers.3.mlp.experts.17.gate_proj.weight");
  EXPECT_EQ(gguf_name(Role::ffn_gate_exps, 3), "blk.3.ffn_gate_exps.weight");
}

TEST(Experts, ALayerHasExpertsOrAnFfn) {
  ModelDims d = some_dims();
  EXPECT_FALSE(lacks_blocks(qwen3moe(), d));
  const auto has = [&](Role role, std::size_t layer) {
    for (const TensorSpec* spec : layer_tensors(qwen3moe(), d, d.layers[layer]))
      if (spec->role == role) return true;
    return false;
  };
  EXPECT_TRUE(has(Role::ffn_gate_exps, 0) && has(Role::ffn_norm, 0));
  EXPECT_FALSE(has(Role::ffn_gate, 0));
  EXPECT_TRUE(has(Role::ffn_gate, 1) && has(Role::ffn_norm, 1));
  EXPECT_FALSE(has(Role::ffn_gate_exps, 1));
  // A file may state sizes for both. The experts come first in the table.
  LayerDims both = sparse(128, 768, 8);
  both[Axis::ffn] = 6144;
  keep_one_block(qwen3moe(), both);
  EXPECT_EQ(both, sparse(128, 768, 8));
  LayerDims dense = d.layers[1];
  keep_one_block(qwen3moe(), dense);
  EXPECT_EQ(dense, d.layers[1]);
  d.layers[1][Axis::ffn] = 0;
  EXPECT_TRUE(lacks_blocks(qwen3moe(), d));
}

TEST(Experts, ATokenUsesSomeOfThem) {
  ModelDims d = some_dims();
  const std::int64_t expert = 3 * 768 * 2048;
  EXPECT_EQ(parameters(qwen3moe(), d) - active_parameters(qwen3moe(), d), 120 * expert);
  d.layers[0] = d.layers[1];
  EXPECT_EQ(parameters(qwen3moe(), d), active_parameters(qwen3moe(), d));
  EXPECT_TRUE(has_axis(qwen3moe(), Axis::experts));
  EXPECT_TRUE(has_axis(qwen3moe(), Axis::experts_per_token));
  EXPECT_FALSE(has_axis(*arch_by_name("qwen3"), Axis::experts));
}

TEST(Experts, ImpossibleSizesAreRefused) {
  const auto message = [](const ModelDims& dims) -> std::string {
    try {
      require_sizes(qwen3moe(), dims, "here");
      return "";
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::input);
      return e.what();
    }
  };
  ModelDims d = some_dims();
  EXPECT_EQ(message(d), "");
  d.layers[0] = sparse(8, 768, 9);
  EXPECT_EQ(message(d), "here: in layer 0 a token uses 9 of only 8 experts");
  d.layers[0] = sparse(std::int64_t{1} << 24, std::int64_t{1} << 24, 1);
  EXPECT_NE(message(d).find("blk.0.ffn_gate_exps.weight would have"), std::string::npos)
      << message(d);
}

TEST(Experts, AreReadButNotComputed) {
  const ModelDims d = some_dims();
  EXPECT_FALSE(is_computed(qwen3moe(), d));
  try {
    require_computed(qwen3moe(), d, "x.gguf");
    ADD_FAILURE() << "not refused";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
    EXPECT_STREQ(e.what(),
                 "x.gguf: layers with experts, as in this qwen3moe, can be inspected and planned, "
                 "but are not computed yet");
  }
  for (const Arch* a : all_archs())
    EXPECT_EQ(find_block(*a, BlockKind::experts) == nullptr, a->name != "qwen3moe") << a->name;
}

TEST(Experts, UnsoundStacksAreFound) {
  const Block& block = *find_block(qwen3moe(), BlockKind::experts);
  ASSERT_TRUE(sound(block));
  const auto with = [&](Role role, auto&& change) {
    std::vector<TensorSpec> tensors(block.tensors.begin(), block.tensors.end());
    for (TensorSpec& t : tensors)
      if (t.role == role) change(t);
    Block out = block;
    out.tensors = tensors;
    return sound(out);
  };
  EXPECT_TRUE(with(Role::ffn_gate_exps, [](TensorSpec&) {}));
  // One name for all experts, another name as a whole for a plain matrix, experts that are no rows.
  EXPECT_FALSE(with(Role::ffn_gate_exps, [](TensorSpec& t) { t.hf = "layers.{L}.gate"; }));
  EXPECT_FALSE(with(Role::ffn_gate_inp, [](TensorSpec& t) { t.hf_stack = "layers.{L}.gates"; }));
  EXPECT_FALSE(with(Role::ffn_gate_exps, [](TensorSpec& t) { t.hf_stack = "{L}.{E}.gates"; }));
  EXPECT_FALSE(with(Role::ffn_up_exps, [](TensorSpec& t) { t.rows = {{{Axis::expert_ffn}}}; }));
  // The consumer writes what is not the stream.
  EXPECT_FALSE(with(Role::ffn_down_exps,
                    [](TensorSpec& t) { t.rows = {{{Axis::experts, Axis::expert_ffn}}}; }));
}

}  // namespace
}  // namespace espalier::arch
