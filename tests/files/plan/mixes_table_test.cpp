// SPDX-License-Identifier: Apache-2.0
// The K mixes give every matrix the type that llama-quantize gives it. scripts/golden/mixes.py asks
// the tool about 32 models; tests/golden/mixes.json has its answers, a sign for a tensor.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "core/file.h"
#include "plan/quant_mix.h"
#include "plan/quant_plan.h"
#include "support/layer_sizes.h"

namespace espalier::plan {
namespace {

using arch::Axis;
using Json = nlohmann::json;

bool lists(const Json& layers, std::int64_t layer) {
  return std::find(layers.begin(), layers.end(), layer) != layers.end();
}

arch::LayerDims layer_of(const Json& shape, std::int64_t layer) {
  const Json& ffn = shape["ffn"];
  arch::LayerDims out = support::layer_sizes(
      shape["kv_groups"], shape["q_per_kv"],
      ffn.is_array() ? ffn[static_cast<std::size_t>(layer)].get<int>() : ffn.get<int>());
  if (lists(shape["without_attention"], layer)) out[Axis::kv_groups] = out[Axis::q_per_kv] = 0;
  if (shape["experts"] == 0 || lists(shape["dense"], layer)) return out;
  out[Axis::ffn] = 0;
  out[Axis::experts] = shape["experts"];
  out[Axis::expert_ffn] = shape["expert_ffn"];
  out[Axis::experts_per_token] = 2;
  return out;
}

arch::ModelDims dims_of(const Json& golden, const Json& shape) {
  arch::ModelDims d;
  d.vocab = golden["vocab"];
  d.hidden = shape["hidden"];
  d.head_dim = d.hidden / (shape["kv_groups"].get<int>() * shape["q_per_kv"].get<int>());
  d.positions = 512;
  d.tied = shape["tied"];
  for (std::int64_t layer = 0; layer < shape["layers"]; ++layer)
    d.layers.push_back(layer_of(shape, layer));
  return d;
}

// "blk.3.attn_v.weight" is attn_v.
std::string role_of(const arch::TensorRef& t) {
  std::string name = arch::gguf_name(t.spec->role, t.layer);
  name = name.substr(0, name.rfind('.'));
  return t.layer < 0 ? name : name.substr(name.find('.', 4) + 1);
}

std::map<std::string, std::string> types(const arch::Arch& arch, const arch::ModelDims& dims,
                                         const std::string& mix, const Json& signs) {
  const QuantPlan plan = quant_plan(arch, dims, mix);
  std::map<std::string, std::string> out;
  for (const arch::TensorRef& t : arch::tensors(arch, dims)) {
    if (t.is_vector || t.elements() == 0 || stays_f32(t.spec->role)) continue;
    const std::string_view name = format::info(plan.format_of(t.spec->role, t.layer)).name;
    for (const auto& [sign, format] : signs.items())
      if (format == name) out[role_of(t)] += sign;
  }
  return out;
}

TEST(Mixes, TypesAreThoseOfLlamaQuantize) {
  const Json golden = Json::parse(
      core::read_text_file(std::string(ESPALIER_SOURCE_DIR) + "/tests/golden/mixes.json"));
  ASSERT_EQ(golden["cases"].size(), 32u);
  int compared = 0, large = 0, of_8 = 0, otherwise = 0;
  for (const Json& shape : golden["cases"]) {
    const std::string family = shape["family"];
    const arch::Arch* arch = arch::arch_by_gguf_name(family);
    ASSERT_NE(arch, nullptr) << family;
    const arch::ModelDims dims = dims_of(golden, shape);
    large += dims.n_layers() == 80;
    of_8 += shape["experts"] == 8;
    ASSERT_EQ(shape["mixes"].size(), k_mixes().size());
    for (const auto& [mix, expected] : shape["mixes"].items()) {
      const auto found = types(*arch, dims, mix, golden["signs"]);
      EXPECT_EQ(found, (expected.get<std::map<std::string, std::string>>()))
          << family << " of " << dims.n_layers() << " layers and hidden " << dims.hidden << ", "
          << mix;
      for (const auto& [role, kinds] : found) {
        compared += static_cast<int>(kinds.size());
        otherwise += static_cast<int>(
            std::count_if(kinds.begin(), kinds.end(), [](char c) { return c == 'b' || c == 'f'; }));
      }
    }
  }
  EXPECT_EQ(large, 9);
  EXPECT_EQ(of_8, 3);
  EXPECT_GT(compared, 70000);
  EXPECT_GT(otherwise, 2500);
}

TEST(Mixes, WhatIsStoredOtherwiseIsSaid) {
  const arch::Arch& llama = *arch::arch_by_gguf_name("llama");
  arch::ModelDims d;
  d.vocab = 96;
  d.hidden = 288;
  d.head_dim = 32;
  d.positions = 128;
  d.layers.assign(12, support::layer_sizes(3, 3, 100));
  const auto said = [&](std::string_view mix,
                        const std::map<std::string, format::FormatId>& overrides = {}) {
    return stored_otherwise(quant_plan(llama, d, mix, overrides), llama, d);
  };
  EXPECT_EQ(said("q4_k_s"),
            "q4_k_s: some rows are no whole blocks of 256, and take what llama-quantize gives "
            "them; f16 for q4_k in ffn_down; f16 for q5_k in ffn_down; q5_0 for q4_k in "
            "token_embd, attn_q, attn_k, attn_output, ffn_gate, ffn_up, attn_v; q5_1 for q5_k in "
            "attn_v; q8_0 for q6_k in output");
  EXPECT_EQ(said("q8_0", {{"ffn_down", format::FormatId::f16}}), "");
  EXPECT_EQ(said("q6_k", {{"ffn_down", format::FormatId::f32}}).find("ffn_down"),
            std::string::npos);
  d.hidden = 256;
  d.layers.assign(12, support::layer_sizes(2, 4, 512));
  for (const std::string_view mix : k_mixes()) EXPECT_EQ(said(mix), "") << mix;
}

}  // namespace
}  // namespace espalier::plan
