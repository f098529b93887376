// SPDX-License-Identifier: Apache-2.0
// config.json: what is read, both key styles, and a table of broken or unsupported ones that must
// be refused by the key's name.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "support/layer_sizes.h"
#include "support/tiny_model.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

Json good() {
  return Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.04, "intermediate_size": 1536, "is_llama_config": true,
    "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
    "num_key_value_heads": 3, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null,
    "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.42.3",
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "use_cache": true, "vocab_size": 49152})");
}

arch::ModelDims parse(const Json& json) { return parse_hf_config(json.dump(), "config.json").dims; }

TEST(Config, ReadsSizesAndTraits) {
  const arch::ModelDims dims = parse(good());
  EXPECT_EQ(dims.vocab, 49152);
  EXPECT_EQ(dims.hidden, 576);
  EXPECT_EQ(dims.head_dim, 64);
  EXPECT_EQ(dims.positions, 8192);
  ASSERT_EQ(dims.n_layers(), 30);
  EXPECT_EQ(dims.layers[29], support::layer_sizes(3, 3, 1536));
  EXPECT_TRUE(dims.tied);
  EXPECT_EQ(dims.norm_eps, 1e-5);
  EXPECT_EQ(dims.rope_theta, 100000);
  EXPECT_EQ(dims.rope_scaling, arch::RopeScaling{});
}

TEST(Config, DefaultsAreThoseOfTransformers) {
  Json json = good();
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "rope_theta",
                          "tie_word_embeddings", "max_position_embeddings"})
    json.erase(key);
  const arch::ModelDims dims = parse(json);
  EXPECT_EQ(dims.layers[0][arch::Axis::kv_groups], 9);
  EXPECT_EQ(dims.layers[0][arch::Axis::q_per_kv], 1);
  EXPECT_EQ(dims.norm_eps, 1e-6);
  EXPECT_EQ(dims.rope_theta, 10000);
  EXPECT_EQ(dims.positions, 2048);
  EXPECT_FALSE(dims.tied);
}

TEST(Config, Factors) {
  const arch::Arch& granite = *arch::arch_by_name("granite");
  Json json = good();
  json["model_type"] = "granite";
  EXPECT_EQ(parse(json).embedding_factor, 1);
  EXPECT_EQ(parse(json).attention_scale, 1);  // transformers' default, not 1 / sqrt(head_dim)
  EXPECT_EQ(parse(json).residual_factor, 1);
  EXPECT_EQ(parse(json).logit_divisor, 1);
  json["embedding_multiplier"] = 12;
  json["attention_multiplier"] = 0.015625;
  json["residual_multiplier"] = 0.22;
  json["logits_scaling"] = 8.0;
  const arch::ModelDims dims = parse(json);
  EXPECT_EQ(dims.embedding_factor, 12);
  EXPECT_EQ(dims.attention_scale, 0.015625);
  EXPECT_EQ(dims.residual_factor, 0.22);
  EXPECT_EQ(dims.logit_divisor, 8);
  for (const std::string& base : {std::string(), json.dump()}) {
    const std::string written = make_hf_config(granite, dims, base, format::FormatId::f32, nullptr);
    EXPECT_EQ(parse_hf_config(written, "written").dims, dims) << written;
    EXPECT_EQ(Json::parse(written)["architectures"][0], "GraniteForCausalLM");
  }
  // Layers of unequal size leave as another family, which has no factors.
  arch::ModelDims unequal = dims;
  unequal.layers[1][arch::Axis::ffn] = 64;
  EXPECT_FALSE(has_hf_form(granite, unequal));
  unequal.embedding_factor = unequal.residual_factor = unequal.logit_divisor = 1;
  unequal.attention_scale = 0.125;
  const Json plain =
      Json::parse(make_hf_config(granite, unequal, json.dump(), format::FormatId::f32, nullptr));
  EXPECT_EQ(plain["model_type"], "nemotron-nas");
  for (const char* key :
       {"embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"}) {
    EXPECT_FALSE(plain.contains(key)) << key;
    Json bad = json;
    bad[key] = 0;
    EXPECT_THROW(parse(bad), core::Error) << key;
    bad = good();
    bad[key] = 1.5;
    EXPECT_THROW(parse(bad), core::Error) << key;
  }
}

// A hybrid without Mamba layers and experts is a Granite under other names.
TEST(Config, DenseHybridsAreGranites) {
  const arch::Arch& hybrid = *arch::arch_by_name("granitemoehybrid");
  Json json = Json::parse(R"({
    "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "attention_bias": false, "hidden_act": "silu",
    "hidden_size": 2560, "intermediate_size": 8192, "shared_intermediate_size": 4096, "num_hidden_layers": 2, "num_attention_heads": 40,
    "num_key_value_heads": 8, "layer_types": ["attention", "attention"], "position_embedding_type": "rope", "num_local_experts": 0,
    "num_experts_per_tok": 0, "output_router_logits": false, "router_aux_loss_coef": 0.01, "mamba_chunk_size": 256, "mamba_conv_bias": true,
    "mamba_d_conv": 4, "mamba_d_head": 40, "mamba_d_state": 256, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 128,
    "mamba_proj_bias": false, "normalization_function": "rmsnorm", "attention_multiplier": 0.015625, "embedding_multiplier": 12,
    "residual_multiplier": 0.22, "logits_scaling": 10, "rms_norm_eps": 1e-05, "rope_theta": 10000000, "rope_scaling": null,
    "max_position_embeddings": 131072, "tie_word_embeddings": true, "vocab_size": 100352})");
  const arch::ModelDims dims = parse(json);
  EXPECT_EQ(dims.layers[0], support::layer_sizes(8, 5, 4096));
  EXPECT_EQ(dims.logit_divisor, 10);
  const std::string written =
      make_hf_config(hybrid, dims, json.dump(), format::FormatId::f32, nullptr);
  const ParsedConfig granite = parse_hf_config(written, "written");
  EXPECT_EQ(granite.arch->name, "granite");
  EXPECT_EQ(granite.dims, dims);
  const Json plain = Json::parse(written);
  for (const auto& [key, value] : plain.items())
    EXPECT_TRUE(!key.starts_with("mamba_") && key.find("expert") == std::string::npos &&
                key != "shared_intermediate_size" && key != "layer_types")
        << key;
  for (const char* key : {"layer_types", "num_local_experts", "position_embedding_type"}) {
    Json absent = json;  // Mamba layers, 8 experts, no positions
    absent.erase(key);
    EXPECT_THROW(parse(absent), core::Error) << key;
  }
  for (const auto& [key, value] :
       std::map<std::string, Json>{{"layer_types", {"attention", "mamba"}},
                                   {"num_local_experts", 8},
                                   {"position_embedding_type", "nope"},
                                   {"mlp_bias", true}}) {
    Json other = json;
    other[key] = value;
    EXPECT_THROW(parse(other), core::Error) << key;
  }
  Json other = good();
  other["num_local_experts"] = 8;
  EXPECT_THROW(parse(other), core::Error);
}

TEST(Config, BothStylesOfRopeAgree) {
  Json four = good(), five = good();
  const Json scaling = {{"factor", 32.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192}};
  four["rope_scaling"] = scaling;
  four["rope_scaling"]["type"] = "llama3";
  five.erase("rope_scaling");
  five.erase("rope_theta");
  five.erase("torch_dtype");
  five["dtype"] = "bfloat16";
  five["rope_parameters"] = scaling;
  five["rope_parameters"]["rope_type"] = "llama3";
  five["rope_parameters"]["rope_theta"] = 100000.0;
  EXPECT_EQ(parse(four), parse(five));
  EXPECT_EQ(parse(five).rope_scaling, (arch::RopeScaling{32, 1, 4, 8192}));
  EXPECT_EQ(parse(five).rope_theta, 100000);
}

TEST(Config, LinearScalingOfPositions) {
  Json four = good(), five = good();
  four["rope_scaling"] = {{"type", "linear"}, {"factor", 2.5}};
  five.erase("rope_scaling");
  five.erase("rope_theta");
  five["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2.5}, {"rope_theta", 100000.0}};
  EXPECT_EQ(parse(four).rope_linear, 2.5);
  EXPECT_EQ(parse(four), parse(five));
  EXPECT_EQ(parse(four).rope_scaling, arch::RopeScaling{});
  for (const Json& config : {four, five}) {
    const std::string written = make_hf_config(support::llama(), parse(config), config.dump(),
                                               format::FormatId::f32, nullptr);
    EXPECT_EQ(parse_hf_config(written, "written").dims, parse(config)) << written;
    // transformers 4 passes over rope_parameters.
    const Json json = Json::parse(written);
    EXPECT_EQ(json["rope_theta"], 100000.0) << written;
    EXPECT_EQ(json["rope_scaling"], (Json{{"rope_type", "linear"}, {"factor", 2.5}})) << written;
    EXPECT_EQ(json.contains("rope_parameters"), config.contains("rope_parameters")) << written;
  }
  five["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_THROW(parse(five), core::Error);  // they contradict each other
}

// Gemma 3 from 4B up: of the layers that see everything, not of those with a window.
TEST(Config, LinearScalingOfSomeLayers) {
  Json four = Json::parse(
      R"({"model_type": "gemma3_text", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0}})");
  Json five = four;
  for (const char* key : {"rope_theta", "rope_local_base_freq", "rope_scaling"}) five.erase(key);
  five["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1000000.0}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 10000.0}}}};
  const arch::ModelDims dims = parse(four);
  EXPECT_EQ(dims, parse(five));
  EXPECT_EQ(dims.rope_linear, 8);
  EXPECT_DOUBLE_EQ(arch::rope_inverse_frequencies(dims).front(), 0.125);
  EXPECT_EQ(arch::rope_inverse_frequencies(dims, /*local=*/true).front(), 1);
  for (const Json& config : {four, five}) {
    const std::string text = make_hf_config(*arch::arch_by_name("gemma3"), dims, config.dump(),
                                            format::FormatId::f32, nullptr);
    EXPECT_EQ(parse_hf_config(text, "written").dims, dims) << text;
    const Json written = Json::parse(text);
    EXPECT_EQ(written["rope_scaling"], (Json{{"rope_type", "linear"}, {"factor", 8.0}})) << text;
    EXPECT_EQ(written["rope_theta"], 1000000.0) << text;
    EXPECT_EQ(written["rope_local_base_freq"], 10000.0) << text;
    EXPECT_EQ(written.contains("rope_parameters"), config.contains("rope_parameters")) << text;
    if (config.contains("rope_parameters")) {
      EXPECT_EQ(written["rope_parameters"], five["rope_parameters"]) << text;
    }
  }
  five["rope_parameters"]["sliding_attention"]["rope_type"] = "linear";
  five["rope_parameters"]["sliding_attention"]["factor"] = 2.0;
  EXPECT_THROW(parse(five), core::Error);
}

Json phi() {
  return Json::parse(R"({
    "architectures": ["Phi3ForCausalLM"], "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}, "embd_pdrop": 0.0, "hidden_act": "silu",
    "hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 131072, "model_type": "phi3", "num_attention_heads": 8,
    "num_hidden_layers": 2, "num_key_value_heads": 4, "original_max_position_embeddings": 4096, "partial_rotary_factor": 0.75, "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "su", "short_factor": [1.0, 1.5, 2.0], "long_factor": [4.0, 8.0, 16.5]}, "rope_theta": 10000.0,
    "sliding_window": 262144, "tie_word_embeddings": true, "vocab_size": 100})");
}

TEST(Config, LongRopeAndPartialRotationInBothStyles) {
  const arch::ModelDims dims = parse(phi());
  EXPECT_EQ(dims.rotary_dim, 6);
  EXPECT_EQ(dims.long_rope.long_factors, (std::vector<float>{4, 8, 16.5f}));
  EXPECT_EQ(dims.long_rope.original_positions, 4096);
  EXPECT_NEAR(dims.long_rope.attention_factor, 1.190238, 1e-6);
  EXPECT_EQ(dims.window, 262144);
  Json five = phi();
  five["rope_parameters"] = five["rope_scaling"];
  for (const char* key : {"rope_scaling", "rope_theta", "partial_rotary_factor"}) five.erase(key);
  five["rope_parameters"].erase("type");
  five["rope_parameters"]["rope_type"] = "longrope";
  five["rope_parameters"]["rope_theta"] = 10000.0;
  five["rope_parameters"]["partial_rotary_factor"] = 0.75;
  EXPECT_EQ(parse(five), dims);
  Json stated = phi();
  stated["rope_scaling"]["attention_factor"] = 1.5;
  EXPECT_EQ(parse(stated).long_rope.attention_factor, 1.5);
  for (const Json& base : {phi(), five, stated, Json::object()}) {
    const arch::ModelDims written = base.empty() ? dims : parse(base);
    const std::string text =
        make_hf_config(*arch::arch_by_name("phi3"), written, base.empty() ? "" : base.dump(),
                       format::FormatId::f32, nullptr);
    EXPECT_EQ(parse_hf_config(text, "written").dims, written) << text;
    EXPECT_EQ(Json::parse(text)["rope_scaling"]["type"], "longrope") << text;
    EXPECT_EQ(Json::parse(text)["partial_rotary_factor"], 0.75) << text;
    EXPECT_EQ(text.find("auto_map"), std::string::npos);  // names code that is not carried along
  }
}

TEST(Config, LongRopeIsRefusedWhereItDoesNotFit) {
  const auto refusal = [](Json json) -> std::string {
    try {
      parse(json);
    } catch (const core::Error& e) {
      return e.what();
    }
    return "";
  };
  Json json = phi();
  json["rope_scaling"]["long_factor"] = {4.0, 8.0};
  EXPECT_NE(refusal(json).find("long_factor"), std::string::npos);
  json["rope_scaling"]["long_factor"] = {4.0, 8.0, -1.0};
  EXPECT_NE(refusal(json).find("rope_scaling.long_factor"), std::string::npos);
  json = phi();
  json["rope_scaling"]["type"] = "yarn";
  EXPECT_NE(refusal(json).find("yarn"), std::string::npos);
  json = phi();
  json["partial_rotary_factor"] =
      0.6;  // 4.8 of 8 values: 4, an even number, but not as many as there are divisors
  EXPECT_NE(refusal(json).find("half of the values turned"), std::string::npos);
  json["partial_rotary_factor"] = 1.5;
  EXPECT_NE(refusal(json).find("partial_rotary_factor"), std::string::npos);
  json = phi();
  json["auto_map"]["AutoModelForCausalLM"] = "modeling_other.OtherForCausalLM";
  EXPECT_NE(refusal(json).find("auto_map"), std::string::npos);
  json = phi();
  json["lm_head_bias"] = true;
  EXPECT_NE(refusal(json).find("lm_head_bias"), std::string::npos);
  Json llama = good();
  llama["rope_scaling"] = phi()["rope_scaling"];
  EXPECT_NE(refusal(llama).find("\"su\""), std::string::npos);
  llama = good();
  llama["partial_rotary_factor"] = 0.5;
  EXPECT_NE(refusal(llama).find("partial_rotary_factor"), std::string::npos);
}

TEST(Config, Gpt2HasKeysOfItsOwn) {
  const Json json = Json::parse(
      R"({"model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1, "layer_norm_epsilon": 1e-05, "n_ctx": 64,
    "n_embd": 40, "n_head": 5, "n_layer": 3, "n_positions": 64, "summary_type": "cls_index", "vocab_size": 101})");
  const arch::ModelDims dims = parse(json);
  EXPECT_EQ(dims.hidden, 40);
  EXPECT_EQ(dims.head_dim, 8);
  EXPECT_EQ(dims.positions, 64);
  EXPECT_TRUE(dims.tied);
  ASSERT_EQ(dims.n_layers(), 3);
  EXPECT_EQ(dims.layers[0].sizes, support::layer_sizes(5, 1, 160).sizes);
  EXPECT_FALSE(dims.layers[0].rope);
  const arch::Arch& gpt2 = *arch::arch_by_name("gpt2");
  for (const std::string& base : {json.dump(), std::string()})
    EXPECT_EQ(
        parse_hf_config(make_hf_config(gpt2, dims, base, format::FormatId::f32, nullptr), "written")
            .dims,
        dims);
  arch::ModelDims thinner = dims;
  thinner.hidden = 32;  // no longer its heads
  EXPECT_THROW(make_hf_config(gpt2, thinner, "", format::FormatId::f32, nullptr), core::Error);
  for (const auto& [key, value] :
       std::map<std::string, Json>{{"activation_function", "relu"},
                                   {"scale_attn_by_inverse_layer_idx", true},
                                   {"rope_theta", 10000.0}}) {
    Json other = json;
    other[key] = value;
    EXPECT_THROW(parse(other), core::Error) << key;
  }
}

struct Broken {
  const char* what;
  std::function<void(Json&)> edit;
  core::ErrorKind kind;
  const char* names;  // the message must contain this
};

const Broken kBroken[] = {
    {"no model_type", [](Json& j) { j.erase("model_type"); }, core::ErrorKind::input, "model_type"},
    {"other family", [](Json& j) { j["model_type"] = "gpt_neox"; }, core::ErrorKind::unsupported,
     "gpt_neox"},
    {"no hidden_size", [](Json& j) { j.erase("hidden_size"); }, core::ErrorKind::input,
     "\"hidden_size\" is missing"},
    {"size as text", [](Json& j) { j["hidden_size"] = "576"; }, core::ErrorKind::input,
     "\"hidden_size\""},
    {"size as fraction", [](Json& j) { j["vocab_size"] = 49152.5; }, core::ErrorKind::input,
     "\"vocab_size\""},
    {"negative layers", [](Json& j) { j["num_hidden_layers"] = -1; }, core::ErrorKind::input,
     "\"num_hidden_layers\""},
    {"huge layers", [](Json& j) { j["num_hidden_layers"] = 4000000000; }, core::ErrorKind::input,
     "\"num_hidden_layers\""},
    {"beyond int64", [](Json& j) { j["intermediate_size"] = 18446744073709551615u; },
     core::ErrorKind::input, "\"intermediate_size\""},
    {"heads do not group", [](Json& j) { j["num_key_value_heads"] = 2; }, core::ErrorKind::input,
     "\"num_key_value_heads\""},
    {"heads do not divide",
     [](Json& j) {
       j["num_attention_heads"] = 7;
       j["num_key_value_heads"] = 7;
     },
     core::ErrorKind::input, "\"num_attention_heads\""},
    {"odd head_dim", [](Json& j) { j["head_dim"] = 63; }, core::ErrorKind::input, "\"head_dim\""},
    {"tied as number", [](Json& j) { j["tie_word_embeddings"] = 1; }, core::ErrorKind::input,
     "\"tie_word_embeddings\""},
    {"eps zero", [](Json& j) { j["rms_norm_eps"] = 0.0; }, core::ErrorKind::input,
     "\"rms_norm_eps\""},
    {"theta negative", [](Json& j) { j["rope_theta"] = -1.0; }, core::ErrorKind::input,
     "\"rope_theta\""},
    {"thetas contradict", [](Json& j) { j["rope_parameters"] = {{"rope_theta", 5.0}}; },
     core::ErrorKind::input, "rope_parameters.rope_theta"},
    {"gelu", [](Json& j) { j["hidden_act"] = "gelu"; }, core::ErrorKind::unsupported,
     "\"hidden_act\" is \"gelu\""},
    {"bias as number", [](Json& j) { j["attention_bias"] = 1; }, core::ErrorKind::input,
     "\"attention_bias\""},
    {"a bias of another family",
     [](Json& j) {
       j["model_type"] = "mistral";
       j["mlp_bias"] = true;
     },
     core::ErrorKind::unsupported, "\"mlp_bias\""},
    {"interleaved rope", [](Json& j) { j["rope_interleaved"] = true; },
     core::ErrorKind::unsupported, "\"rope_interleaved\""},
    {"sliding window", [](Json& j) { j["sliding_window"] = 4096; }, core::ErrorKind::unsupported,
     "\"sliding_window\""},
    {"window layers", [](Json& j) { j["layer_types"] = {"sliding_attention"}; },
     core::ErrorKind::unsupported, "\"layer_types\""},
    {"yarn", [](Json& j) { j["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}}; },
     core::ErrorKind::unsupported, "\"yarn\""},
    {"dynamic, old key",
     [](Json& j) { j["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}}; },
     core::ErrorKind::unsupported, "\"dynamic\""},
    {"linear without factor", [](Json& j) { j["rope_scaling"] = {{"rope_type", "linear"}}; },
     core::ErrorKind::input, "rope_scaling.factor"},
    {"linear far out",
     [](Json& j) { j["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 1e7}}; },
     core::ErrorKind::input, "rope_scaling.factor"},
    {"llama3 incomplete",
     [](Json& j) { j["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8.0}}; },
     core::ErrorKind::input, "rope_scaling.low_freq_factor"},
    {"rope as list", [](Json& j) { j["rope_scaling"] = Json::array(); }, core::ErrorKind::input,
     "\"rope_scaling\""},
    {"partial rotary", [](Json& j) { j["partial_rotary_factor"] = 0.5; },
     core::ErrorKind::unsupported, "\"partial_rotary_factor\""},
    {"positions of pictures", [](Json& j) { j["use_mrope"] = true; }, core::ErrorKind::unsupported,
     "\"use_mrope\""},
    {"own code", [](Json& j) { j["auto_map"] = {{"AutoModel", "x.y"}}; },
     core::ErrorKind::unsupported, "\"auto_map\""},
    {"EOS outside the vocabulary", [](Json& j) { j["eos_token_id"] = 49152; },
     core::ErrorKind::input, "\"eos_token_id\" is 49152, outside the vocabulary of 49152 tokens"},
    {"one of several ends outside", [](Json& j) { j["eos_token_id"] = {2, 70000}; },
     core::ErrorKind::input, "\"eos_token_id\" is 70000, outside"},
    {"BOS below", [](Json& j) { j["bos_token_id"] = -2; }, core::ErrorKind::input,
     "\"bos_token_id\" is -2, outside"},
    {"padding that is no id", [](Json& j) { j["pad_token_id"] = "<pad>"; }, core::ErrorKind::input,
     "\"pad_token_id\" is \"<pad>\", expected the id of a token"},
    {"unknown trait", [](Json& j) { j["logits_scaling"] = 8.0; }, core::ErrorKind::unsupported,
     "unknown key \"logits_scaling\""},
    {"misspelt", [](Json& j) { j["num_hidden_layer"] = 3; }, core::ErrorKind::unsupported,
     "did you mean \"num_hidden_layers\""},
};

TEST(Config, RefusesByName) {
  ASSERT_EQ(std::size(kBroken), 36u);
  for (const Broken& broken : kBroken) {
    Json json = good();
    broken.edit(json);
    try {
      parse(json);
      ADD_FAILURE() << broken.what << " was accepted";
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), broken.kind) << broken.what << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find(broken.names), std::string::npos)
          << broken.what << ": " << error.what();
      EXPECT_EQ(std::string(error.what()).find("config.json: "), 0u) << error.what();
    }
  }
}

TEST(Config, SpecialTokensMayBeSeveralOrNone) {
  for (const char* ids : {"null", "-1", "0", "49151", "[]", "[2, 7]"}) {
    Json json = good();
    for (const char* key : {"eos_token_id", "pad_token_id", "decoder_start_token_id"})
      json[key] = Json::parse(ids);
    EXPECT_NO_THROW(parse(json)) << ids;
  }
}

TEST(Config, ListsEverythingAtOnce) {
  Json json = good();
  json.erase("vocab_size");
  json["use_qk_norm"] = true;
  json["logits_scaling"] = 2;
  try {
    parse(json);
    FAIL() << "accepted";
  } catch (const core::Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.kind(), core::ErrorKind::input);
    EXPECT_NE(text.find("3 problems"), std::string::npos) << text;
    for (const char* key : {"vocab_size", "use_qk_norm", "logits_scaling"})
      EXPECT_NE(text.find(key), std::string::npos) << text;
  }
}

TEST(Config, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "[]", "3", "{\"model_type\": \"llama\",}", "\xff\xfe"})
    EXPECT_THROW(parse_hf_config(text, "config.json"), core::Error) << text;
  const std::string deep = R"({"model_type": "llama", "x": )" + std::string(100000, '[') +
                           std::string(100000, ']') + "}";
  EXPECT_THROW(parse_hf_config(deep, "config.json"), core::Error);
  EXPECT_THROW(make_hf_config(support::llama(), support::tiny_dims({}), deep, format::FormatId::f32,
                              nullptr),
               core::Error);
}

TEST(Config, WritesWhatItReads) {
  for (const bool scaled : {false, true})
    for (const bool five : {false, true}) {
      Json base = good();
      if (five) {
        base.erase("rope_theta");
        base.erase("rope_scaling");
        base.erase("torch_dtype");
        base["dtype"] = "float32";
        base["rope_parameters"] = {{"rope_theta", 1.0}, {"rope_type", "default"}};
      }
      support::TinyOptions options;
      options.head_dim = 24;  // heads x head_dim != hidden
      options.rope_theta = 50000;
      if (scaled) options.rope_scaling = {8, 1, 4, 8192};
      const arch::ModelDims dims = support::tiny_dims(options);
      const std::string text =
          make_hf_config(support::llama(), dims, base.dump(), format::FormatId::f16, nullptr);
      EXPECT_EQ(parse_hf_config(text, "written").dims, dims) << text;
      const Json written = Json::parse(text);
      EXPECT_EQ(written.at(five ? "dtype" : "torch_dtype"), "float16");
      EXPECT_FALSE(written.contains(five ? "torch_dtype" : "dtype"));
      EXPECT_EQ(written.at("transformers.js_config"),
                base.at("transformers.js_config"));  // keys without sizes survive
      EXPECT_EQ(written.at("eos_token_id"), 2);
    }
}

TEST(Config, RefusesToWriteUnequalLayersOfOtherKindsThanLlama) {
  arch::ModelDims dims = support::tiny_dims({});
  dims.layers[1][arch::Axis::ffn] = 32;
  EXPECT_NO_THROW(make_hf_config(support::llama(), dims, "", format::FormatId::f32, nullptr));
  EXPECT_THROW(
      make_hf_config(*arch::arch_by_name("qwen3"), dims, "", format::FormatId::f32, nullptr),
      core::Error);
}

}  // namespace
}  // namespace espalier::checkpoint
