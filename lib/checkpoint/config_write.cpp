// Architecture and sizes -> config.json, on top of an existing one: keys that do not depend on sizes survive, in their order.
// Written from scratch it uses the key style of transformers 4, which transformers 5 reads too.
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

const char* dtype_name(format::FormatId dtype) {
  switch (dtype) {
    case format::FormatId::f32: return "float32";
    case format::FormatId::f16: return "float16";
    case format::FormatId::bf16: return "bfloat16";
    default: core::fail(core::ErrorKind::internal, "a Hugging Face directory cannot hold ", format::info(dtype).name);
  }
}

Json scaling_json(const arch::RopeScaling& s) {
  return {{"rope_type", "llama3"},
          {"factor", s.factor},
          {"low_freq_factor", s.low_freq_factor},
          {"high_freq_factor", s.high_freq_factor},
          {"original_max_position_embeddings", s.original_positions}};
}

void set_rope(Json& config, const arch::ModelDims& dims) {
  const bool scaled = dims.rope_scaling.factor != 1;
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object()) {
    Json parameters = scaled ? scaling_json(dims.rope_scaling) : Json{{"rope_type", "default"}};
    parameters["rope_theta"] = dims.rope_theta;
    config["rope_parameters"] = parameters;
    if (config.contains("rope_theta")) config["rope_theta"] = dims.rope_theta;
    config.erase("rope_scaling");
    return;
  }
  config["rope_theta"] = dims.rope_theta;
  config["rope_scaling"] = scaled ? scaling_json(dims.rope_scaling) : Json(nullptr);
}

}  // namespace

std::string make_hf_config(const arch::Arch& arch, const arch::ModelDims& dims, const std::string& base, format::FormatId dtype,
                           const text::TokenizerData* tokenizer) {
  ESP_CHECK(!dims.layers.empty(), unsupported, "a model without layers cannot be written as a Hugging Face directory");
  ESP_CHECK(dims.uniform(), unsupported, "layers of unequal size cannot be written as a Hugging Face directory: the ", arch.hf_model_type,
            " architecture has one size for all layers; choose equal sizes in every layer");
  Json config = Json::object();
  if (!base.empty()) {
    config = format::parse_json<Json>(base, "base config.json");
    ESP_CHECK(config.is_object(), input, "base config.json: expected a JSON object");
  }
  const arch::LayerDims& layer = dims.layers.front();
  config["architectures"] = Json::array({std::string(arch.hf_architecture)});
  config["model_type"] = std::string(arch.hf_model_type);
  config["vocab_size"] = dims.vocab;
  config["hidden_size"] = dims.hidden;
  config["intermediate_size"] = layer.ffn;
  config["num_hidden_layers"] = dims.n_layers();
  config["num_attention_heads"] = layer.kv_groups * layer.q_per_kv;
  config["num_key_value_heads"] = layer.kv_groups;
  config["head_dim"] = dims.head_dim;
  config["max_position_embeddings"] = dims.positions;
  config["hidden_act"] = "silu";
  config["rms_norm_eps"] = dims.norm_eps;
  set_rope(config, dims);
  config["tie_word_embeddings"] = dims.tied;
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = dtype_name(dtype);
  if (config.contains("layer_types")) config["layer_types"] = Json(std::vector<std::string>(dims.layers.size(), "full_attention"));
  if (tokenizer != nullptr) {
    const auto fill = [&](const char* key, const std::optional<std::int32_t>& id) {
      if (id && (!config.contains(key) || config[key].is_null())) config[key] = *id;
    };
    fill("bos_token_id", tokenizer->bos);
    fill("eos_token_id", tokenizer->eos);
    fill("pad_token_id", tokenizer->pad);
  }
  return config.dump(2) + "\n";
}

}  // namespace espalier::checkpoint
