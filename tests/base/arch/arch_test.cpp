// SPDX-License-Identifier: Apache-2.0
// What is derived from the tables: names, counts, surviving positions, row orders, rotary
// frequencies.
#include "arch/arch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"

namespace espalier::arch {
namespace {

using Indices = std::vector<std::int64_t>;

ModelDims smol() {
  ModelDims d;
  d.vocab = 49152;
  d.hidden = 576;
  d.head_dim = 64;
  d.positions = 8192;
  d.layers.assign(30, {3, 3, 1536});
  d.tied = true;
  return d;
}

TEST(Arch, LookupsFindEveryFamily) {
  ASSERT_EQ(all_archs().size(), 14u);
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
    for (const TensorSpec& spec : a->layer) own.insert(gguf_name(spec.role, 7));
    EXPECT_EQ(own.size(), a->layer.size()) << a->name;
  }
  EXPECT_EQ(role_by_name("attn"), std::nullopt);
  EXPECT_EQ(gguf_name(Role::ffn_down, 12), "blk.12.ffn_down.weight");
  EXPECT_EQ(gguf_name(Role::output_norm, 12), "output_norm.weight");
  EXPECT_EQ(with_layer("a.{L}.b", 3), "a.3.b");
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
  d.layers[2] = {2, 4, 96};
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
  d.layers.assign(1, {3, 2, 5});
  const LayerDims* layer = &d.layers[0];
  int checked = 0;
  for (const auto& specs : {a.model, a.layer})
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
  using Roles = std::vector<Role>;
  EXPECT_EQ(attention_inputs(*arch_by_name("llama")),
            (Roles{Role::attn_q, Role::attn_k, Role::attn_v}));
  EXPECT_EQ(ffn_inputs(*arch_by_name("llama")), (Roles{Role::ffn_gate, Role::ffn_up}));
  EXPECT_EQ(attention_inputs(*arch_by_name("phi3")), Roles{Role::attn_qkv});
  EXPECT_EQ(ffn_inputs(*arch_by_name("phi3")), Roles{Role::ffn_gate_up});
  EXPECT_EQ(ffn_inputs(*arch_by_name("gpt2")), Roles{Role::ffn_up});
  EXPECT_TRUE(has_gate(*arch_by_name("phi3")));
  EXPECT_FALSE(has_gate(*arch_by_name("nemotron")));
  EXPECT_EQ(norm_bias(Role::ffn_norm), Role::ffn_norm_bias);
  EXPECT_THROW(norm_bias(Role::attn_q_norm), core::Error);
  for (const Arch* a : all_archs())
    EXPECT_EQ(has_gate(*a),
              a->activation == Activation::swiglu || a->activation == Activation::geglu)
        << a->name;
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
