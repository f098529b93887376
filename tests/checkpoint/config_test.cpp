// config.json: what is read, both key styles, and a table of broken or unsupported ones that must be refused by the key's name.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
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
  EXPECT_EQ(dims.layers[29], (arch::LayerDims{3, 3, 1536}));
  EXPECT_TRUE(dims.tied);
  EXPECT_EQ(dims.norm_eps, 1e-5);
  EXPECT_EQ(dims.rope_theta, 100000);
  EXPECT_EQ(dims.rope_scaling, arch::RopeScaling{});
}

TEST(Config, DefaultsAreThoseOfTransformers) {
  Json json = good();
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "max_position_embeddings"}) json.erase(key);
  const arch::ModelDims dims = parse(json);
  EXPECT_EQ(dims.layers[0].kv_groups, 9);
  EXPECT_EQ(dims.layers[0].q_per_kv, 1);
  EXPECT_EQ(dims.norm_eps, 1e-6);
  EXPECT_EQ(dims.rope_theta, 10000);
  EXPECT_EQ(dims.positions, 2048);
  EXPECT_FALSE(dims.tied);
}

TEST(Config, BothStylesOfRopeAgree) {
  Json four = good(), five = good();
  const Json scaling = {{"factor", 32.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
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

struct Broken {
  const char* what;
  std::function<void(Json&)> edit;
  core::ErrorKind kind;
  const char* names;  // the message must contain this
};

const Broken kBroken[] = {
    {"no model_type", [](Json& j) { j.erase("model_type"); }, core::ErrorKind::input, "model_type"},
    {"other family", [](Json& j) { j["model_type"] = "gpt_neox"; }, core::ErrorKind::unsupported, "gpt_neox"},
    {"no hidden_size", [](Json& j) { j.erase("hidden_size"); }, core::ErrorKind::input, "\"hidden_size\" is missing"},
    {"size as text", [](Json& j) { j["hidden_size"] = "576"; }, core::ErrorKind::input, "\"hidden_size\""},
    {"size as fraction", [](Json& j) { j["vocab_size"] = 49152.5; }, core::ErrorKind::input, "\"vocab_size\""},
    {"negative layers", [](Json& j) { j["num_hidden_layers"] = -1; }, core::ErrorKind::input, "\"num_hidden_layers\""},
    {"huge layers", [](Json& j) { j["num_hidden_layers"] = 4000000000; }, core::ErrorKind::input, "\"num_hidden_layers\""},
    {"beyond int64", [](Json& j) { j["intermediate_size"] = 18446744073709551615u; }, core::ErrorKind::input, "\"intermediate_size\""},
    {"heads do not group", [](Json& j) { j["num_key_value_heads"] = 2; }, core::ErrorKind::input, "\"num_key_value_heads\""},
    {"heads do not divide", [](Json& j) { j["num_attention_heads"] = 7; j["num_key_value_heads"] = 7; }, core::ErrorKind::input, "\"num_attention_heads\""},
    {"odd head_dim", [](Json& j) { j["head_dim"] = 63; }, core::ErrorKind::input, "\"head_dim\""},
    {"tied as number", [](Json& j) { j["tie_word_embeddings"] = 1; }, core::ErrorKind::input, "\"tie_word_embeddings\""},
    {"eps zero", [](Json& j) { j["rms_norm_eps"] = 0.0; }, core::ErrorKind::input, "\"rms_norm_eps\""},
    {"theta negative", [](Json& j) { j["rope_theta"] = -1.0; }, core::ErrorKind::input, "\"rope_theta\""},
    {"thetas contradict", [](Json& j) { j["rope_parameters"] = {{"rope_theta", 5.0}}; }, core::ErrorKind::input, "rope_parameters.rope_theta"},
    {"gelu", [](Json& j) { j["hidden_act"] = "gelu"; }, core::ErrorKind::unsupported, "\"hidden_act\" is \"gelu\""},
    {"bias as number", [](Json& j) { j["attention_bias"] = 1; }, core::ErrorKind::input, "\"attention_bias\""},
    {"a bias of another family", [](Json& j) { j["model_type"] = "mistral"; j["mlp_bias"] = true; }, core::ErrorKind::unsupported, "\"mlp_bias\""},
    {"interleaved rope", [](Json& j) { j["rope_interleaved"] = true; }, core::ErrorKind::unsupported, "\"rope_interleaved\""},
    {"sliding window", [](Json& j) { j["sliding_window"] = 4096; }, core::ErrorKind::unsupported, "\"sliding_window\""},
    {"window layers", [](Json& j) { j["layer_types"] = {"sliding_attention"}; }, core::ErrorKind::unsupported, "\"layer_types\""},
    {"yarn", [](Json& j) { j["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}}; }, core::ErrorKind::unsupported, "\"yarn\""},
    {"linear, old key", [](Json& j) { j["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}}; }, core::ErrorKind::unsupported, "\"linear\""},
    {"llama3 incomplete", [](Json& j) { j["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8.0}}; }, core::ErrorKind::input, "rope_scaling.low_freq_factor"},
    {"rope as list", [](Json& j) { j["rope_scaling"] = Json::array(); }, core::ErrorKind::input, "\"rope_scaling\""},
    {"partial rotary", [](Json& j) { j["partial_rotary_factor"] = 0.5; }, core::ErrorKind::unsupported, "\"partial_rotary_factor\""},
    {"quantized", [](Json& j) { j["quantization_config"] = {{"bits", 4}}; }, core::ErrorKind::unsupported, "\"quantization_config\""},
    {"own code", [](Json& j) { j["auto_map"] = {{"AutoModel", "x.y"}}; }, core::ErrorKind::unsupported, "\"auto_map\""},
    {"unknown trait", [](Json& j) { j["logits_scaling"] = 8.0; }, core::ErrorKind::unsupported, "unknown key \"logits_scaling\""},
    {"misspelt", [](Json& j) { j["num_hidden_layer"] = 3; }, core::ErrorKind::unsupported, "did you mean \"num_hidden_layers\""},
};

TEST(Config, RefusesByName) {
  ASSERT_EQ(std::size(kBroken), 30u);
  for (const Broken& broken : kBroken) {
    Json json = good();
    broken.edit(json);
    try {
      parse(json);
      ADD_FAILURE() << broken.what << " was accepted";
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), broken.kind) << broken.what << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find(broken.names), std::string::npos) << broken.what << ": " << error.what();
      EXPECT_EQ(std::string(error.what()).find("config.json: "), 0u) << error.what();
    }
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
    for (const char* key : {"vocab_size", "use_qk_norm", "logits_scaling"}) EXPECT_NE(text.find(key), std::string::npos) << text;
  }
}

TEST(Config, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "[]", "3", "{\"model_type\": \"llama\",}", "\xff\xfe"})
    EXPECT_THROW(parse_hf_config(text, "config.json"), core::Error) << text;
  const std::string deep = R"({"model_type": "llama", "x": )" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_THROW(parse_hf_config(deep, "config.json"), core::Error);
  EXPECT_THROW(make_hf_config(support::llama(), support::tiny_dims({}), deep, format::FormatId::f32, nullptr), core::Error);
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
      const std::string text = make_hf_config(support::llama(), dims, base.dump(), format::FormatId::f16, nullptr);
      EXPECT_EQ(parse_hf_config(text, "written").dims, dims) << text;
      const Json written = Json::parse(text);
      EXPECT_EQ(written.at(five ? "dtype" : "torch_dtype"), "float16");
      EXPECT_FALSE(written.contains(five ? "torch_dtype" : "dtype"));
      EXPECT_EQ(written.at("transformers.js_config"), base.at("transformers.js_config"));  // keys without sizes survive
      EXPECT_EQ(written.at("eos_token_id"), 2);
    }
}

TEST(Config, RefusesToWriteUnequalLayers) {
  arch::ModelDims dims = support::tiny_dims({});
  dims.layers[1].ffn = 32;
  EXPECT_THROW(make_hf_config(support::llama(), dims, "", format::FormatId::f32, nullptr), core::Error);
}

}  // namespace
}  // namespace espalier::checkpoint
