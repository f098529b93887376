// SPDX-License-Identifier: Apache-2.0
// What is derived from the tables: names, counts, surviving positions, row orders, rotary
// frequencies.
#include "arch/arch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "support/layer_sizes.h"

namespace espalier::arch {
namespace {

using Indices = std::vector<std::int64_t>;

ModelDims smol() {
  ModelDims d;
  d.vocab = 49152;
  d.hidden = 576;
  d.head_dim = 64;
  d.positions = 8192;
  d.layers.assign(30, support::layer_sizes(3, 3, 1536));
  d.tied = true;
  return d;
}

TEST(Arch, LookupsFindEveryFamily) {
  ASSERT_EQ(all_archs().size(), 15u);
  for (const Arch* a : all_archs()) {
    EXPECT_EQ(arch_by_name(a->name), a);
    EXPECT_EQ(arch_by_hf_model_type(a->hf_model_type), a);
    ASSERT_NE(arch_by_gguf_name(a->gguf), nullptr);
    EXPECT_EQ(arch_by_gguf_name(a->gguf)->gguf, a->gguf);
  }
  EXPECT_EQ(arch_by_gguf_name("Llama"), nullptr);
  EXPECT_EQ(arch_by_hf_model_type(""), nullptr);
}

TEST(Arch, RolesAndNamesAreOneToOneInEveryFamily) {
  std::set<std::string> names;
  for (int i = 0; i < kRoles; ++i) {
    const Role role = static_cast<Role>(i);
    EXPECT_EQ(role_by_name(role_name(role)), role);
    names.insert(gguf_name(role, 7));
  }
  EXPECT_EQ(names.size(),
            static_cast<std::size_t>(kRoles) - 1);  // gate and up in one have the name of up
  EXPECT_EQ(gguf_name(Role::ffn_gate_up, 7), gguf_name(Role::ffn_up, 7));
  for (const Arch* a : all_archs()) {
    std::set<std::string> own;
    std::size_t tensors = 0;
    for (const Block& block : a->blocks) {
      for (const TensorSpec& spec : block.tensors) own.insert(gguf_name(spec.role, 7));
      tensors += block.tensors.size();
      // Blocks that stand in for each other share their norm.
      if (&block != &a->blocks.front() && block.norm == (&block - 1)->norm) --tensors;
    }
    EXPECT_EQ(own.size(), tensors) << a->name;
  }
  EXPECT_EQ(role_by_name("attn"), std::nullopt);
  EXPECT_EQ(gguf_name(Role::ffn_down, 12), "blk.12.ffn_down.weight");
  EXPECT_EQ(gguf_name(Role::output_norm, 12), "output_norm.weight");
  EXPECT_EQ(with_layer("a.{L}.b", 3), "a.3.b");
  EXPECT_EQ(with_indices("a.{L}.b.{E}", 3, 14), "a.3.b.14");
}

TEST(Arch, CountsThoseOfSmolLM2) {
  const Arch& a = *arch_by_gguf_name("llama");
  EXPECT_EQ(parameters(a, smol()), 134515008);  // as the model card states
  EXPECT_EQ(non_embedding_parameters(a, smol()), 134515008 - 49152 * 576);
  EXPECT_EQ(tensors(a, smol()).size(), 2u + 30 * 9);
  ModelDims untied = smol();
  untied.tied = false;
  EXPECT_EQ(parameters(a, untied) - parameters(a, smol()), 49152 * 576);
  EXPECT_EQ(non_embedding_parameters(a, untied), non_embedding_parameters(a, smol()));
  EXPECT_EQ(kv_bytes_per_token(smol()), 30 * 2 * 3 * 64 * 2);
}

TEST(Arch, ShapesFollowTheLayer) {
  const Arch& a = *arch_by_gguf_name("llama");
  ModelDims d = smol();
  d.layers[2] = support::layer_sizes(2, 4, 96);
  const TensorRef q = tensor_ref(a, d, Role::attn_q, 2), o = tensor_ref(a, d, Role::attn_output, 2),
                  k = tensor_ref(a, d, Role::attn_k, 2);
  EXPECT_EQ(q.rows, 8 * 64);
  EXPECT_EQ(o.cols, 8 * 64);
  EXPECT_EQ(k.rows, 2 * 64);
  EXPECT_EQ(tensor_ref(a, d, Role::ffn_down, 2).cols, 96);
  EXPECT_TRUE(tensor_ref(a, d, Role::ffn_norm, 2).is_vector);
  EXPECT_EQ(tensor_ref(a, d, Role::ffn_norm, 2).row_length(), 576);
  EXPECT_EQ(tensor_ref(a, d, Role::token_embd, 5).layer, -1);
  EXPECT_THROW(tensor_ref(a, d, Role::rope_freqs, -1), core::Error);
  EXPECT_FALSE(d.uniform());
}

// Every position of every extent, by plain nested loops, against surviving().
TEST(Arch, SurvivingPositionsOfEveryAxis) {
  const Arch& a = *arch_by_gguf_name("llama");
  ModelDims d;
  d.vocab = 11;
  d.hidden = 7;
  d.head_dim = 4;
  d.layers.assign(1, support::layer_sizes(3, 2, 5));
  const LayerDims* layer = &d.layers[0];
  int checked = 0;
  for (const auto& specs : {a.model, a.blocks[0].tensors, a.blocks[1].tensors})
    for (const TensorSpec& spec : specs)
      for (const Extent& extent : {spec.rows, spec.cols})
        for (const Axis axis :
             {Axis::vocab, Axis::hidden, Axis::kv_groups, Axis::q_per_kv, Axis::ffn}) {
          if (!touches(extent, axis)) continue;
          ++checked;
          const Indices keep = {0, size_of(axis, d, layer) - 1};
          Indices expected;
          const std::int64_t n = length(extent, d, layer);
          for (std::int64_t position = 0; position < n; ++position) {
            // One run in these tables; digits of the position, slowest first.
            const arch::Run& run = extent[0];
            const std::int64_t nc = size_of(run.c, d, layer), nb = size_of(run.b, d, layer);
            const std::int64_t index = run.a == axis   ? position / (nb * nc)
                                       : run.b == axis ? position / nc % nb
                                                       : position % nc;
            if (std::find(keep.begin(), keep.end(), index) != keep.end())
              expected.push_back(position);
          }
          EXPECT_EQ(surviving(extent, axis, keep, d, layer), expected)
              << spec.hf << " " << axis_name(axis);
        }
  EXPECT_EQ(checked, 31);
  // Concatenated runs: rows of q then k, as a fused tensor has them.
  const Extent fused{{{Axis::kv_groups, Axis::q_per_kv}, {Axis::kv_groups}}};
  EXPECT_EQ(length(fused, d, layer), 9);
  EXPECT_EQ(surviving(fused, Axis::kv_groups, Indices{1}, d, layer), (Indices{2, 3, 7}));
}

TEST(Arch, ReadersOfTheStream) {
  const auto readers = [](const char* family, BlockKind kind) {
    const Block& block = *find_block(*arch_by_name(family), kind);
    return std::vector<Role>(block.readers.begin(), block.readers.end());
  };
  using Roles = std::vector<Role>;
  EXPECT_EQ(readers("llama", BlockKind::attention),
            (Roles{Role::attn_q, Role::attn_k, Role::attn_v}));
  EXPECT_EQ(readers("llama", BlockKind::ffn), (Roles{Role::ffn_gate, Role::ffn_up}));
  EXPECT_EQ(readers("phi3", BlockKind::attention), Roles{Role::attn_qkv});
  EXPECT_EQ(readers("phi3", BlockKind::ffn), Roles{Role::ffn_gate_up});
  EXPECT_EQ(readers("gpt2", BlockKind::ffn), Roles{Role::ffn_up});
  for (const Arch* a : all_archs()) {
    EXPECT_EQ(&block_of(*a, Axis::q_per_kv), find_block(*a, BlockKind::attention)) << a->name;
    EXPECT_EQ(&block_of(*a, Axis::ffn), find_block(*a, BlockKind::ffn)) << a->name;
    EXPECT_THROW(block_of(*a, Axis::hidden), core::Error) << a->name;
    EXPECT_EQ(has_gate(a->activation),
              readers(a->name.data(), BlockKind::ffn) != Roles{Role::ffn_up})
        << a->name;
  }
}

TEST(Arch, BiasesBelongToWeights) {
  EXPECT_EQ(bias_of(Role::ffn_norm), Role::ffn_norm_bias);
  EXPECT_EQ(bias_of(Role::attn_q_norm), std::nullopt);
  EXPECT_EQ(weight_of(Role::attn_qkv_bias), Role::attn_qkv);
  EXPECT_EQ(weight_of(Role::attn_qkv), std::nullopt);
  int biases = 0;
  for (int i = 0; i < kRoles; ++i) {
    const auto role = static_cast<Role>(i);
    const std::optional<Role> weight = weight_of(role);
    EXPECT_EQ(weight.has_value(), gguf_name(role, 0).ends_with(".bias")) << role_name(role);
    if (!weight) continue;
    ++biases;
    EXPECT_EQ(bias_of(*weight), role);
    EXPECT_EQ(role_name(role), std::string(role_name(*weight)) + "_bias");
  }
  EXPECT_EQ(biases, 11);
}

// A made-up family whose layers are attention or an FFN, after one norm, as in hybrids.
constexpr Extent kHidden{{{Axis::hidden}}}, kFfnWidth{{{Axis::ffn}}},
    kHeads{{{Axis::kv_groups, Axis::q_per_kv, Axis::head_dim}}},
    kGroups{{{Axis::kv_groups, Axis::head_dim}}};
constexpr TensorSpec kNorm{Role::attn_norm, "layers.{L}.norm", kHidden};
constexpr TensorSpec kMixer[] = {kNorm,
                                 {Role::attn_q, "layers.{L}.q", kHeads, kHidden},
                                 {Role::attn_k, "layers.{L}.k", kGroups, kHidden},
                                 {Role::attn_v, "layers.{L}.v", kGroups, kHidden},
                                 {Role::attn_q_bias, "layers.{L}.q.bias", kHeads},
                                 {Role::attn_output, "layers.{L}.o", kHidden, kHeads}};
constexpr TensorSpec kMlp[] = {kNorm,
                               {Role::ffn_up, "layers.{L}.up", kFfnWidth, kHidden},
                               {Role::ffn_down, "layers.{L}.down", kHidden, kFfnWidth}};
constexpr Block kMixerBlock{.kind = BlockKind::attention,
                            .norm = Role::attn_norm,
                            .readers = {Role::attn_q, Role::attn_k, Role::attn_v},
                            .consumer = Role::attn_output,
                            .axes = {Axis::kv_groups, Axis::q_per_kv},
                            .tensors = kMixer};
constexpr Block kMlpBlock{.kind = BlockKind::ffn,
                          .norm = Role::attn_norm,
                          .readers = {Role::ffn_up},
                          .consumer = Role::ffn_down,
                          .axes = {Axis::ffn},
                          .tensors = kMlp};
constexpr Block kHybridBlocks[] = {kMixerBlock, kMlpBlock};
constexpr TensorSpec kEmbedding[] = {{Role::token_embd, "embed", {{{Axis::vocab}}}, kHidden}};
constexpr Arch kHybrid{.name = "hybrid",
                       .gguf = "hybrid",
                       .hf_model_type = "hybrid",
                       .hf_architecture = "Hybrid",
                       .norm = Norm::rms,
                       .activation = Activation::relu_squared,
                       .defaults = {},
                       .window_period = kNoWindow,
                       .no_rope_period = 0,
                       .scaled_embedding = false,
                       .model = kEmbedding,
                       .blocks = kHybridBlocks};
static_assert(sound(kHybrid));

TEST(Arch, LayersDifferInKind) {
  ModelDims d = smol();
  d.layers = support::layer_list({{3, 3, 0}, {0, 0, 96}});
  std::vector<std::pair<Role, int>> found;
  for (const TensorRef& t : tensors(kHybrid, d)) found.emplace_back(t.spec->role, t.layer);
  const std::vector<std::pair<Role, int>> expected{
      {Role::token_embd, -1}, {Role::attn_norm, 0},   {Role::attn_q, 0},      {Role::attn_k, 0},
      {Role::attn_v, 0},      {Role::attn_q_bias, 0}, {Role::attn_output, 0}, {Role::attn_norm, 1},
      {Role::ffn_up, 1},      {Role::ffn_down, 1}};
  EXPECT_EQ(found, expected);
  EXPECT_FALSE(in_absent_block(kHybrid, Role::attn_norm, d.layers[1]));
  EXPECT_TRUE(in_absent_block(kHybrid, Role::attn_q, d.layers[1]));
  EXPECT_FALSE(in_absent_block(kHybrid, Role::token_embd, d.layers[1]));
  EXPECT_FALSE(lacks_blocks(kHybrid, d));  // one norm: the blocks stand in for each other
  LayerDims both = support::layer_sizes(3, 3, 96);
  keep_one_block(kHybrid, both);
  EXPECT_EQ(both, support::layer_sizes(3, 3, 0));
  d.layers.assign(1, support::layer_sizes(0, 0, 0));
  EXPECT_TRUE(lacks_blocks(kHybrid, d));
}

TEST(Arch, UnsoundBlocksAreFound) {
  const auto changed = [](const Block& block, auto&& change) {
    Block out = block;
    change(out);
    return out;
  };
  const auto without = [](std::span<const TensorSpec> tensors, Role role) {
    std::vector<TensorSpec> out;
    for (const TensorSpec& t : tensors)
      if (t.role != role) out.push_back(t);
    return out;
  };
  ASSERT_TRUE(sound(kMixerBlock));
  EXPECT_FALSE(sound(changed(kMixerBlock, [](Block& b) { b.norm = Role::ffn_norm; })));
  EXPECT_FALSE(sound(changed(kMixerBlock, [](Block& b) { b.norm = Role::attn_q_bias; })));
  EXPECT_FALSE(sound(changed(kMixerBlock, [](Block& b) { b.norm_behind = Role::attn_post_norm; })));
  EXPECT_FALSE(sound(changed(kMixerBlock, [](Block& b) { b.consumer = Role::attn_q; })));
  // A matrix that reads the stream is no reader, and a reader does not.
  EXPECT_FALSE(sound(changed(kMixerBlock, [](Block& b) { b.readers = {Role::attn_q}; })));
  EXPECT_FALSE(sound(changed(kMlpBlock, [](Block& b) { b.readers = {Role::ffn_down}; })));
  // An axis of a tensor is not the block's, and an axis of the block is in no tensor.
  EXPECT_FALSE(sound(changed(kMixerBlock, [](Block& b) { b.axes = {Axis::kv_groups}; })));
  EXPECT_FALSE(sound(changed(kMlpBlock, [](Block& b) { b.axes = {Axis::ffn, Axis::kv_groups}; })));
  EXPECT_FALSE(
      sound(changed(kMixerBlock, [](Block& b) { b.axes = {Axis::q_per_kv, Axis::kv_groups}; })));
  const std::vector<TensorSpec> no_q = without(kMixer, Role::attn_q);  // but its bias
  EXPECT_FALSE(sound(changed(kMixerBlock, [&](Block& b) {
    b.tensors = no_q;
    b.readers = {Role::attn_k, Role::attn_v};
  })));
  const auto family = [](std::span<const Block> blocks, Norm norm) {
    Arch out = kHybrid;
    out.blocks = blocks;
    out.norm = norm;
    return out;
  };
  const Block twice[] = {kMlpBlock, kMlpBlock};
  EXPECT_FALSE(sound(family(twice, Norm::rms)));
  EXPECT_FALSE(sound(family(kHybridBlocks, Norm::layer)));  // its norms have no bias
  std::vector<TensorSpec> other_norm(std::begin(kMlp), std::end(kMlp));
  other_norm[0].hf = "layers.{L}.another";
  const Block shared[] = {kMixerBlock,
                          changed(kMlpBlock, [&](Block& b) { b.tensors = other_norm; })};
  EXPECT_FALSE(sound(family(shared, Norm::rms)));
}

TEST(Arch, RowOrdersAreInverse) {
  std::set<std::int64_t> seen;
  for (std::int64_t row = 0; row < 3 * 8; ++row) {
    EXPECT_EQ(rope_unpermuted_row(rope_permuted_row(row, 8), 8), row);
    EXPECT_EQ(rope_permuted_row(row, 8) / 8, row / 8);
    seen.insert(rope_permuted_row(row, 8));
  }
  EXPECT_EQ(seen.size(), 24u);
  EXPECT_EQ(rope_permuted_row(0, 8), 0);  // pairs (i, i + 4) become neighbours
  EXPECT_EQ(rope_permuted_row(4, 8), 1);
  EXPECT_EQ(rope_permuted_row(1, 8), 2);
  EXPECT_EQ(rope_permuted_row(13, 8), 11);
}

TEST(Arch, RotaryFrequencies) {
  ModelDims d = smol();
  d.rope_theta = 500000;
  const std::vector<double> plain = rope_inverse_frequencies(d);
  ASSERT_EQ(plain.size(), 32u);
  EXPECT_EQ(plain[0], 1);
  EXPECT_NEAR(plain[16], 1 / std::sqrt(500000.0), 1e-15);
  EXPECT_TRUE(rope_frequency_factors(d).empty());
  d.rope_scaling = {8, 1, 4, 8192};
  const std::vector<float> factors = rope_frequency_factors(d);
  ASSERT_EQ(factors.size(), 32u);
  EXPECT_TRUE(std::is_sorted(factors.begin(), factors.end()));
  EXPECT_EQ(factors.front(), 1);
  EXPECT_EQ(factors.back(), 8);
  EXPECT_GT(std::count_if(factors.begin(), factors.end(), [](float f) { return f > 1 && f < 8; }),
            0);
  EXPECT_DOUBLE_EQ(rope_inverse_frequencies(d).back(), plain.back() / 8);
}

// Position interpolation: every angle is that of a position nearer to the beginning, but in local
// layers with a base of their own.
TEST(Arch, LinearScalingDividesPositions) {
  ModelDims d = smol();
  const std::vector<double> plain = rope_inverse_frequencies(d);
  d.rope_linear = 4;
  for (const bool local : {false, true}) {
    const std::vector<double> slower = rope_inverse_frequencies(d, local);
    for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(slower[i], plain[i] / 4);
  }
  EXPECT_TRUE(rope_tensors(d).empty());
  d.local_rope_theta = d.rope_theta;
  EXPECT_EQ(rope_inverse_frequencies(d, true), plain);
}

TEST(Arch, FrequenciesOfPartOfAHead) {
  ModelDims d = smol();
  d.rotary_dim = 48;
  const std::vector<double> part = rope_inverse_frequencies(d);
  ASSERT_EQ(part.size(), 24u);
  EXPECT_NEAR(part[12], 1 / std::sqrt(10000.0), 1e-15);  // halfway through what is turned
}

TEST(Arch, LongRopeHasDivisorsOnBothSidesOfItsContext) {
  ModelDims d = smol();
  d.head_dim = 4;
  const std::vector<double> plain = rope_inverse_frequencies(d);
  EXPECT_TRUE(rope_tensors(d).empty());
  d.long_rope = {.short_factors = {1, 2},
                 .long_factors = {4, 8},
                 .original_positions = 4096,
                 .attention_factor = 1.19};
  EXPECT_EQ(rope_inverse_frequencies(d), (std::vector<double>{plain[0], plain[1] / 2}));
  EXPECT_EQ(rope_inverse_frequencies(d, false, true),
            (std::vector<double>{plain[0] / 4, plain[1] / 8}));
  const std::vector<RopeTensor> stored = rope_tensors(d);
  ASSERT_EQ(stored.size(), 2u);
  EXPECT_EQ(stored[0].role, Role::rope_factors_long);
  EXPECT_EQ(stored[1].values, d.long_rope.short_factors);
  EXPECT_NEAR(long_rope_attention_factor(32, 4096), 1.190238, 1e-6);  // Phi-3.5-mini
  EXPECT_EQ(long_rope_attention_factor(0.5, 4096), 1);
}

}  // namespace
}  // namespace espalier::arch
