// SPDX-License-Identifier: Apache-2.0
// Configs with sizes for every layer: both styles of DeciLM, OpenELM, and broken ones that are
// refused by the key's name.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "support/layer_sizes.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

ParsedConfig parse(const Json& json) { return parse_hf_config(json.dump(), "config.json"); }

// Keys and numbers as in Llama-3.1-Nemotron-51B, with four layers.
Json nemotron() {
  return Json::parse(
      R"({"model_type": "nemotron-nas", "architectures": ["DeciLMForCausalLM"], "hidden_act": "silu", "hidden_size": 8192, "vocab_size": 128256,
    "attention_bias": false, "mlp_bias": false, "auto_map": {"AutoConfig": "configuration_decilm.DeciLMConfig", "AutoModelForCausalLM": "modeling_decilm.DeciLMForCausalLM"},
    "num_attention_heads": 64, "num_key_value_heads": null, "intermediate_size": null, "num_hidden_layers": 4, "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0, "tie_word_embeddings": false, "block_configs": [
      {"attention": {"n_heads_in_group": 8, "no_op": false, "replace_with_linear": false, "sparsify": null, "window_length": null, "unshifted_sink": false},
       "ffn": {"ffn_mult": 1.3125, "no_op": false, "replace_with_linear": false, "sparsify": null}},
      {"attention": {"n_heads_in_group": null, "no_op": true, "replace_with_linear": false}, "ffn": {"ffn_mult": 5.25, "no_op": false, "replace_with_linear": false}},
      {"attention": {"n_heads_in_group": 16, "no_op": false, "replace_with_linear": false}, "ffn": {"ffn_mult": null, "no_op": true, "replace_with_linear": false}},
      {"attention": {"n_heads_in_group": 64, "no_op": false, "replace_with_linear": false}, "ffn": {"ffn_mult": 0.5, "no_op": false, "replace_with_linear": false}}]})");
}
Json openelm() {
  return Json::parse(
      R"({"model_type": "openelm", "architectures": ["OpenELMForCausalLM"], "activation_fn_name": "swish", "ffn_with_glu": true, "ffn_dim_divisor": 256,
    "ffn_multipliers": [0.5, 0.73, 4.0], "head_dim": 64, "max_context_length": 2048, "model_dim": 1280, "normalization_layer_name": "rms_norm",
    "normalize_qk_projections": true, "num_gqa_groups": 4, "num_query_heads": [12, 16, 20], "num_kv_heads": [3, 4, 5], "num_transformer_layers": 3,
    "qkv_multipliers": [0.5, 1.0], "rope_freq_constant": 10000, "rope_max_length": 4096, "share_input_output_layers": true, "vocab_size": 32000})");
}

TEST(ConfigLayers, NemotronNas) {
  const arch::ModelDims dims = parse(nemotron()).dims;
  EXPECT_EQ(dims.layers,
            support::layer_list({{8, 8, 7168}, {0, 0, 28672}, {4, 16, 0}, {1, 64, 2816}}));
  EXPECT_EQ(dims.head_dim, 128);
  EXPECT_EQ(arch::kv_bytes_per_token(dims), 2 * 2 * 128 * (8 + 4 + 1));
}

TEST(ConfigLayers, OlderDeci) {
  Json json = nemotron();
  for (const char* key : {"block_configs", "num_key_value_heads"}) json.erase(key);
  json["model_type"] = "deci";
  json["intermediate_size"] = 14336;
  json["num_key_value_heads_per_layer"] = {4, 4, 2, 1};
  const ParsedConfig parsed = parse(json);
  EXPECT_EQ(parsed.arch->name, "deci");
  EXPECT_EQ(parsed.dims.layers[2], support::layer_sizes(2, 32, 14336));
}

TEST(ConfigLayers, OpenElm) {
  const arch::ModelDims dims = parse(openelm()).dims;
  EXPECT_EQ(dims.layers, support::layer_list({{3, 4, 768}, {4, 4, 1024}, {5, 4, 5120}}));
  EXPECT_TRUE(dims.tied);
  EXPECT_EQ(dims.norm_eps, 1e-6);
}

TEST(ConfigLayers, WrittenAndReadIsTheSame) {
  for (Json json : {nemotron(), openelm()}) {
    const ParsedConfig parsed = parse(json);
    arch::ModelDims dims = parsed.dims;
    dims.layers[0][arch::Axis::ffn] = 777;  // no multiplier of the published kind gives it
    dims.layers[2][arch::Axis::kv_groups] = 2;
    dims.layers[2][arch::Axis::q_per_kv] = 3;
    for (const arch::ModelDims& d : {parsed.dims, dims})
      for (const std::string& base : {json.dump(), std::string()}) {
        const std::string text =
            make_hf_config(*parsed.arch, d, base, format::FormatId::f32, nullptr);
        EXPECT_EQ(parse_hf_config(text, "written").dims, d) << text;
        EXPECT_NE(text.find("modeling_espalier." + std::string(parsed.arch->hf_architecture)),
                  std::string::npos);
      }
  }
}

// Unequal layers of Llama's kind leave as deci, of others not at all.
TEST(ConfigLayers, UnequalLayersOfOtherFamilies) {
  arch::ModelDims dims = parse(nemotron()).dims;
  for (const char* family : {"llama", "mistral", "qwen2"})
    EXPECT_EQ(hf_family_for(*arch::arch_by_name(family), dims).name, "deci") << family;
  for (const char* family : {"qwen3", "gemma2", "phi3", "gpt2", "openelm"})
    EXPECT_FALSE(has_hf_form(*arch::arch_by_name(family), dims)) << family;
  dims.attention_bias = true;  // of q, k and v alone
  const arch::Arch& deci = *arch::arch_by_name("deci");
  EXPECT_EQ(
      parse_hf_config(make_hf_config(deci, dims, "", format::FormatId::f32, nullptr), "written")
          .dims,
      dims);
  dims.attention_bias = false;  // qwen2 has them whatever this says
  const arch::ModelDims read = parse_hf_config(make_hf_config(*arch::arch_by_name("qwen2"), dims,
                                                              "", format::FormatId::f32, nullptr),
                                               "written")
                                   .dims;
  EXPECT_TRUE(read.attention_bias && !read.output_bias);
  EXPECT_TRUE(needs_remote_code(*arch::arch_by_name("llama"), dims));
}

struct Broken {
  Json (*good)();
  std::function<void(Json&)> edit;
  core::ErrorKind kind;
  const char* names;
};

TEST(ConfigLayers, RefusesByName) {
  const Broken broken[] = {
      {nemotron, [](Json& j) { j["block_configs"][1]["attention"]["replace_with_linear"] = true; },
       core::ErrorKind::unsupported, "block_configs[1].attention.replace_with_linear"},
      {nemotron, [](Json& j) { j["block_configs"][2]["ffn"]["replace_with_linear"] = true; },
       core::ErrorKind::unsupported, "block_configs[2].ffn.replace_with_linear"},
      {nemotron, [](Json& j) { j["block_configs"][0]["attention"]["window_length"] = 8; },
       core::ErrorKind::unsupported, "block_configs[0].attention.window_length"},
      {nemotron, [](Json& j) { j["block_configs"][0]["attention"]["n_heads_in_group"] = 7; },
       core::ErrorKind::input, "does not divide 64 heads"},
      {nemotron, [](Json& j) { j["block_configs"][0]["attention"].erase("n_heads_in_group"); },
       core::ErrorKind::input, "block_configs[0].attention.n_heads_in_group"},
      {nemotron, [](Json& j) { j["block_configs"][0]["ffn"]["ffn_mult"] = 1e9; },
       core::ErrorKind::input, "block_configs[0].ffn.ffn_mult"},
      {nemotron, [](Json& j) { j["block_configs"][0]["ffn"]["ffn_mult"] = "1"; },
       core::ErrorKind::input, "block_configs[0].ffn.ffn_mult"},
      {nemotron, [](Json& j) { j["block_configs"][0]["ffn"]["ffn_multi"] = 1; },
       core::ErrorKind::unsupported, "block_configs[0].ffn.ffn_multi"},
      {nemotron, [](Json& j) { j["block_configs"][0].erase("ffn"); }, core::ErrorKind::input,
       "block_configs[0]"},
      {nemotron, [](Json& j) { j["block_configs"].erase(0); }, core::ErrorKind::input,
       "expected a list of 4"},
      {nemotron, [](Json& j) { j["block_configs"] = 3; }, core::ErrorKind::input, "block_configs"},
      {nemotron, [](Json& j) { j["block_configs"][3]["parallel_blocks"] = Json::array({1}); },
       core::ErrorKind::unsupported, "block_configs[3].parallel_blocks"},
      {nemotron, [](Json& j) { j["num_key_value_heads_per_layer"] = {1, 1, 1, 1}; },
       core::ErrorKind::input, "are both there"},
      {openelm, [](Json& j) { j["num_query_heads"].erase(0); }, core::ErrorKind::input,
       "num_query_heads"},
      {openelm, [](Json& j) { j["num_kv_heads"][0] = 5; }, core::ErrorKind::input, "layer 0"},
      {openelm, [](Json& j) { j["num_kv_heads"][1] = 0; }, core::ErrorKind::input, "num_kv_heads"},
      {openelm, [](Json& j) { j["ffn_multipliers"][1] = -1; }, core::ErrorKind::input,
       "ffn_multipliers"},
      {openelm, [](Json& j) { j.erase("model_dim"); }, core::ErrorKind::input, "model_dim"},
      {openelm, [](Json& j) { j["normalize_qk_projections"] = false; },
       core::ErrorKind::unsupported, "normalize_qk_projections"},
      {openelm, [](Json& j) { j["ffn_with_glu"] = false; }, core::ErrorKind::unsupported,
       "ffn_with_glu"},
      {openelm, [](Json& j) { j["tie_word_embeddings"] = false; }, core::ErrorKind::unsupported,
       "tie_word_embeddings"},
      {openelm, [](Json& j) { j["rope_theta"] = 5.0; }, core::ErrorKind::unsupported, "rope_theta"},
  };
  ASSERT_EQ(std::size(broken), 22u);
  for (const Broken& b : broken) {
    Json json = b.good();
    b.edit(json);
    try {
      parse(json);
      ADD_FAILURE() << b.names << " was accepted";
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), b.kind) << e.what();
      EXPECT_NE(std::string(e.what()).find(b.names), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace espalier::checkpoint
