// SPDX-License-Identifier: Apache-2.0
// Keys that leave a model as it is are read past in every family. What contradicts the other keys,
// or switches something on, is refused.
#include "checkpoint/neutral_keys.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::json;

// A config.json of every family.
const std::map<std::string, Json>& configs() {
  static const std::map<std::string, Json> all = [] {
    std::map<std::string, Json> out;
    for (const char* name :
         {"model_untied", "model_mistral_full", "model_smollm3_a", "model_granite_a",
          "model_granite4_a", "model_qwen2_a", "model_qwen3_a", "experts_apart", "model_gemma2_a",
          "model_gemma3_a", "model_phi3_a", "model_nemotron_a", "model_gpt2_a", "model_deci_a",
          "model_openelm_a"})
      out[name] = Json::parse(core::read_text_file(
          std::string(ESPALIER_SOURCE_DIR "/tests/golden/") + name + "/config.json", 1 << 20));
    return out;
  }();
  return all;
}

ParsedConfig parse(const Json& json) { return parse_hf_config(json.dump(), "config.json"); }

TEST(NeutralKeys, ThereIsAConfigOfEveryFamily) {
  std::set<const arch::Arch*> families;
  for (const auto& [name, json] : configs()) families.insert(parse(json).arch);
  EXPECT_EQ(families.size(), arch::all_archs().size());
}

TEST(NeutralKeys, ChangeNothingInAnyFamily) {
  const std::map<std::string, Json> neutral{
      // Features of other families, switched off.
      {"use_mrope", false},
      {"vision_config", nullptr},
      {"alibi", false},
      {"use_qk_norm", false},
      {"qk_layernorm", false},
      {"attn_temperature_tuning", 0},
      {"num_nextn_predict_layers", 0},
      {"n_shared_experts", nullptr},
      {"clip_qkv", nullptr},
      {"pruned_heads", Json::object()},
      {"tie_encoder_decoder", false},
      {"mrope_section", Json::array()},
      {"moe_layers", ""},
      {"quantization_config", nullptr},
      {"auto_map", Json::object()},
      {"is_causal", true},
      {"routed_scaling_factor", 1.0},
      // Of training, generation and tokenizers, and older versions' leftovers.
      {"n_special", 0},
      {"predict_special_tokens", true},
      {"output_past", true},
      {"_num_labels", 1},
      {"_flash_attn_2_enabled", true},
      {"_attn_implementation", "eager"},
      {"max_sequence_length", 512},
      {"model_max_length", 512},
      {"hidden_dropout", 0.1},
      {"classifier_dropout", 0.1},
      {"summary_first_dropout", 0.1},
      {"router_jitter_noise", 0.01},
      {"initializer_range", 0.02},
      {"tokenizer_class", "GPT2Tokenizer"},
      {"eos_token", "</s>"},
      {"image_token_id", 7},
      {"unsloth_version", "2025.1.1"},
      {"transformers_version", "4.20.1"},
      {"task_specific_params", {{"text-generation", {{"do_sample", true}, {"max_length", 50}}}}},
      {"id2label", {{"0", "LABEL_0"}}},
      {"repetition_penalty", 1.1},
      {"ep_size", 1},
      {"world_size", 8},
      {"no_bias", false},
      {"is_decoder", true},
      {"use_flash_attn", true},
      {"trust_remote_code", true}};
  for (const auto& [name, json] : configs()) {
    const ParsedConfig plain = parse(json);
    for (const auto& [key, value] : neutral) {
      Json with = json;
      if (with.contains(key)) continue;
      with[key] = value;
      try {
        EXPECT_EQ(parse(with).dims, plain.dims) << name << ": " << key;
      } catch (const core::Error& e) {
        ADD_FAILURE() << name << ": " << key << ": " << e.what();
      }
    }
  }
}

TEST(NeutralKeys, WhatSwitchesSomethingOnIsRefused) {
  for (const auto& [name, json] : configs())
    for (const auto& [key, value] :
         std::map<std::string, Json>{{"use_mrope", true},
                                     {"alibi", true},
                                     {"is_causal", false},
                                     {"use_qk_norm", true},
                                     {"num_nextn_predict_layers", 1},
                                     {"n_shared_experts", 2},
                                     {"routed_scaling_factor", 2.5},
                                     {"clip_qkv", 8.0},
                                     {"experts_per_token", 2},
                                     {"vision_config", {{"depth", 2}}}}) {
      Json with = json;
      with[key] = value;
      try {
        parse(with);
        ADD_FAILURE() << name << ": " << key << " was accepted";
      } catch (const core::Error& e) {
        EXPECT_EQ(e.kind(), core::ErrorKind::unsupported) << e.what();
        EXPECT_NE(std::string(e.what()).find("\"" + key + "\""), std::string::npos) << e.what();
      }
    }
}

// "no_bias" says of the weights what it may say of those without any.
TEST(NeutralKeys, AbsentBiasesMayBeStated) {
  for (const auto& [name, neutral] : std::map<std::string, bool>{{"model_untied", true},
                                                                 {"model_qwen3_a", true},
                                                                 {"model_qwen2_a", false},
                                                                 {"model_gpt2_a", false}}) {
    Json with = configs().at(name);
    with["no_bias"] = true;
    if (neutral)
      EXPECT_NO_THROW(parse(with)) << name;
    else
      EXPECT_THROW(parse(with), core::Error) << name;
  }
}

TEST(NeutralKeys, WholeNumbersMayBeWrittenAsReal) {
  const Json& json = configs().at("model_untied");
  Json real = json, half = json;
  for (const char* key : {"hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size"})
    real[key] = json.at(key).get<double>();
  EXPECT_EQ(parse(real).dims, parse(json).dims);
  half["hidden_size"] = json.at("hidden_size").get<double>() + 0.5;
  EXPECT_THROW(parse(half), core::Error);
}

// Other tools' names for what the other keys say: the same, or refused with both values.
TEST(NeutralKeys, NumbersStatedTwiceMustAgree) {
  const Json& nemotron = configs().at("model_nemotron_a");
  const arch::ModelDims dims = parse(nemotron).dims;
  const std::map<std::string, Json> same{
      {"kv_channels", dims.head_dim},
      {"ffn_hidden_size", dims.layers[0][arch::Axis::ffn]},
      {"num_query_groups", dims.layers[0][arch::Axis::kv_groups]},
      {"num_layers", dims.n_layers()},
      {"n_embd", dims.hidden},
      {"rotary_base", dims.rope_theta},
      {"layer_norm_eps", dims.norm_eps},
      {"rotary_percent", 0.5},
      {"hidden_activation", "relu2"},
      {"position_embedding_type", "rope"}};
  for (const auto& [key, value] : same) {
    Json with = nemotron;
    with[key] = value;
    EXPECT_EQ(parse(with).dims, dims) << key;
    with[key] = value.is_string() ? Json("other") : Json(value.get<double>() * 2);
    try {
      parse(with);
      ADD_FAILURE() << key << " was accepted";
    } catch (const core::Error& e) {
      const std::string text = e.what();
      EXPECT_NE(text.find("\"" + key + "\""), std::string::npos) << text;
      EXPECT_NE(text.find("by the other keys"), std::string::npos) << text;
    }
  }
}

// Of a family without windows: one that is off, or that no text of the context leaves.
TEST(NeutralKeys, WindowsWithoutEffect) {
  Json json = configs().at("model_untied");
  const arch::ModelDims plain = parse(json).dims;
  json["sliding_window"] = plain.positions;
  EXPECT_EQ(parse(json).dims, plain);
  json["sliding_window"] = plain.positions - 1;
  EXPECT_THROW(parse(json), core::Error);
  json["use_sliding_window"] = false;
  json["max_window_layers"] = 28;
  EXPECT_EQ(parse(json).dims, plain);
  json["use_sliding_window"] = true;
  EXPECT_THROW(parse(json), core::Error);
}

// Scaling by one is none, whatever it is called.
TEST(NeutralKeys, ScalingOfPositionsByOne) {
  Json json = configs().at("model_untied");
  json["rope_scaling"] = nullptr;
  const arch::ModelDims plain = parse(json).dims;
  for (const char* type : {"default", "linear", "dynamic", "yarn"}) {
    json["rope_scaling"] = {{"type", type}, {"factor", 1.0}};
    EXPECT_EQ(parse(json).dims, plain) << type;
    json["rope_scaling"]["factor"] = 2.0;
    if (std::string(type) != "linear") {
      EXPECT_THROW(parse(json), core::Error) << type;
    }
  }
  json["rope_scaling"] = false;
  EXPECT_EQ(parse(json).dims, plain);
  // For text, positions in three dimensions are one.
  json["rope_scaling"] = {{"type", "mrope"}, {"mrope_section", {1, 1, 2}}};
  EXPECT_EQ(parse(json).dims, plain);
  json["rope_scaling"] = {{"type", "yarn"}, {"factor", 1.0}, {"attention_factor", 1.2}};
  EXPECT_THROW(parse(json), core::Error);
}

TEST(NeutralKeys, CodeOfATokenizerIsNoneOfTheModel) {
  Json json = configs().at("model_untied");
  json["auto_map"] = {{"AutoTokenizer", {"tokenization_x.X", nullptr}}};
  EXPECT_EQ(parse(json).dims, parse(configs().at("model_untied")).dims);
  json["auto_map"]["AutoConfig"] = "configuration_x.X";
  EXPECT_THROW(parse(json), core::Error);
}

TEST(NeutralKeys, AQuantizationIsNamedForWhoReadsTheTensors) {
  Json json = configs().at("model_untied");
  EXPECT_EQ(parse(json).quantization, "");
  json["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  EXPECT_EQ(parse(json).quantization, "gptq");
  json.erase("quantization_config");
  json["quantization"] = {{"group_size", 64}, {"bits", 4}};
  EXPECT_EQ(parse(json).quantization, "quantization");
}

}  // namespace
}  // namespace espalier::checkpoint
