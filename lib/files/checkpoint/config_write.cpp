// SPDX-License-Identifier: Apache-2.0
// Architecture and sizes -> config.json, on top of an existing one. Keys that do not depend on
// sizes are kept in their order. Rotary embedding is always written in the key style of
// transformers 4, which transformers 5 reads too. An existing config with the keys of transformers
// 5 gets both: transformers 4 would ignore those and compute something else.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "arch/factors.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/family_config.h"
#include "checkpoint/modeling.h"
#include "core/error.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

// "float32", "float16" or "bfloat16".
std::string dtype_name(format::FormatId dtype) {
  const format::QuantFormat& f = format::info(dtype);
  ESP_CHECK(f.is_float(), internal, "a Hugging Face directory cannot hold ", f.name);
  std::string name(f.name);
  return name.insert(name.find('f') + 1, "loat");
}

Json scaling_json(const arch::RopeScaling& s) {
  return {{"rope_type", "llama3"},
          {"factor", s.factor},
          {"low_freq_factor", s.low_freq_factor},
          {"high_freq_factor", s.high_freq_factor},
          {"original_max_position_embeddings", s.original_positions}};
}

// Writes what a family has beyond sizes. Keys that a family does not know are not written.
void set_traits(Json& config, const arch::Arch& arch, const arch::ModelDims& dims) {
  const arch::ConfigKeys& keys = arch.keys;
  config[std::string(keys.activation)] = keys.activation_name;
  for (const arch::ConfigValue& one : arch.config)
    if (one.required) config[std::string(one.key)] = Json::parse(one.value);
  if (arch::has_optional(arch, arch::Present::attention_bias))
    config["attention_bias"] = dims.attention_bias;
  if (arch::has_optional(arch, arch::Present::mlp_bias)) config["mlp_bias"] = dims.mlp_bias;
  if (!keys.query_scalar.empty()) {
    const double scale = arch::attention_scale(dims);
    config[std::string(keys.query_scalar)] = std::llround(1 / (scale * scale));
  }
  for (const arch::Factor& factor : arch::kFactors)
    if (factor.stated_by(arch)) config[std::string(arch.keys.*factor.config)] = factor.of(dims);
  const auto set_cap = [&](std::string_view key, double c) {
    if (!key.empty()) config[std::string(key)] = c > 0 ? Json(c) : Json(nullptr);
  };
  set_cap(keys.attention_softcap, dims.attention_softcap);
  set_cap(keys.logit_softcap, dims.logit_softcap);
  std::vector<std::string> types;
  std::vector<int> with_rope;
  bool any_local = false;
  for (const arch::LayerDims& l : dims.layers) {
    types.push_back(l.local ? "sliding_attention" : "full_attention");
    with_rope.push_back(l.rope ? 1 : 0);
    any_local = any_local || l.local;
  }
  const bool listed =
      arch.window_period != arch::kNoWindow && arch.window_period != arch::kEveryLayer;
  if (config.contains("layer_types") || listed) config["layer_types"] = types;
  if (arch.window_period != arch::kNoWindow)
    config["sliding_window"] = any_local ? Json(dims.window) : Json(nullptr);
  if (arch.window_period == arch::kOnlyListed) config["use_sliding_window"] = any_local;
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern", "max_window_layers"})
    config.erase(key);  // layer_types says it
  if (arch.no_rope_period > 0) config["no_rope_layers"] = with_rope;
}

Json long_rope_json(const arch::ModelDims& dims) {
  const arch::LongRope& r = dims.long_rope;
  // transformers 4 accepts exactly these three keys.
  Json out{
      {"type", "longrope"}, {"short_factor", r.short_factors}, {"long_factor", r.long_factors}};
  const double usual = arch::long_rope_attention_factor(
      static_cast<double>(dims.positions) / static_cast<double>(r.original_positions),
      r.original_positions);
  if (std::fabs(r.attention_factor / usual - 1) > 1e-6)
    out["attention_factor"] = r.attention_factor;
  return out;
}

void set_rope(Json& config, const arch::Arch& arch, const arch::ModelDims& dims) {
  if (arch::learned_positions(arch)) return;
  const bool partial = arch.defaults.partial_rotary > 0;
  const double head = static_cast<double>(dims.head_dim);
  double share = static_cast<double>(dims.rotated()) / head;
  // Readers truncate the product to an integer.
  if (static_cast<std::int64_t>(head * share) < dims.rotated()) share = std::nextafter(share, 1.0);
  Json scaling(nullptr);
  if (dims.long_rope.used()) scaling = long_rope_json(dims);
  if (dims.rope_scaling.factor != 1) scaling = scaling_json(dims.rope_scaling);
  if (dims.rope_linear != 1) scaling = {{"rope_type", "linear"}, {"factor", dims.rope_linear}};
  if (dims.long_rope.used())
    config["original_max_position_embeddings"] = dims.long_rope.original_positions;
  if (dims.local_rope_theta > 0 && config.contains("rope_parameters")) {
    const auto with_base = [](Json parameters, double theta) {
      parameters["rope_theta"] = theta;
      return parameters;
    };
    config["rope_parameters"] = {
        {"full_attention",
         with_base(scaling.is_null() ? Json{{"rope_type", "default"}} : scaling, dims.rope_theta)},
        {"sliding_attention", with_base(Json{{"rope_type", "default"}}, dims.local_rope_theta)}};
  } else if (config.contains("rope_parameters") && config["rope_parameters"].is_object()) {
    Json parameters = scaling.is_null() ? Json{{"rope_type", "default"}} : scaling;
    parameters["rope_theta"] = dims.rope_theta;
    if (parameters.contains("type")) parameters["rope_type"] = parameters["type"];
    if (partial) parameters["partial_rotary_factor"] = share;
    config["rope_parameters"] = parameters;
  }
  config["rope_theta"] = dims.rope_theta;
  if (dims.local_rope_theta > 0) config["rope_local_base_freq"] = dims.local_rope_theta;
  if (partial) config["partial_rotary_factor"] = share;
  config[std::string(arch.keys.rope_scaling)] = scaling;
}

// The first stand-in whose tensors are those of the model, by Hugging Face name. nullptr: none.
const arch::Arch* stand_in(const arch::Arch& arch, const arch::ModelDims& dims) {
  const auto names = [&](const arch::Arch& of) {
    std::vector<std::string_view> out;
    for (const arch::TensorRef& t : arch::tensors(of, dims)) out.push_back(t.spec->hf);
    std::sort(out.begin(), out.end());
    return out;
  };
  for (const std::string_view name : arch.stand_ins) {
    const arch::Arch* other = arch::arch_by_name(name);
    if (names(*other) == names(arch)) return other;
  }
  return nullptr;
}

// What a config of `family` says and one of `arch`, as which it is written, does not.
void drop_keys_of(const arch::Arch& family, const arch::Arch& arch, Json& config) {
  for (const char* key :
       {"attention_bias", "mlp_bias", "pretraining_tp", "is_llama_config", "rope_interleaved"})
    config.erase(key);
  for (const arch::Factor& factor : arch::kFactors)
    if (factor.stated_by(family)) config.erase(std::string(family.keys.*factor.config));
  for (const arch::ConfigValue& one : family.config) config.erase(std::string(one.key));
  if (!family.attention_type.empty()) config.erase("layer_types");
  for (const arch::Axis axis : arch::kLayerAxes)
    if (arch.keys.sizes[axis] != family.keys.sizes[axis])
      config.erase(std::string(family.keys.sizes[axis]));
}

// The code that the source's key names is not written. It was accepted only because transformers,
// or our own file, has it.
void set_code(Json& config, const arch::Arch& arch) {
  config.erase("auto_map");
  if (!arch.unequal_layers) return;
  const std::string file = std::string(kModelingFile, std::string_view(kModelingFile).find('.')),
                    model(arch.hf_architecture);
  config["auto_map"] = {{"AutoConfig", file + "." + model.substr(0, model.find("For")) + "Config"},
                        {"AutoModelForCausalLM", file + "." + model}};
}

// Where the source's config has none.
void fill_token_ids(Json& config, const text::TokenizerData& tokenizer) {
  const auto fill = [&](const char* key, const std::optional<std::int32_t>& id) {
    if (id && (!config.contains(key) || config[key].is_null())) config[key] = *id;
  };
  fill("bos_token_id", tokenizer.bos);
  fill("eos_token_id", tokenizer.eos);
  fill("pad_token_id", tokenizer.pad);
}

}  // namespace

const arch::Arch& hf_family_for(const arch::Arch& arch, const arch::ModelDims& dims) {
  ESP_CHECK(!dims.layers.empty(), unsupported,
            "a model without layers cannot be written as a Hugging Face directory");
  if (!arch.written_as.empty()) return hf_family_for(*arch::arch_by_name(arch.written_as), dims);
  if (arch.unequal_layers) {
    ESP_CHECK(
        arch.absent_blocks || !arch::lacks_blocks(arch, dims), unsupported,
        "layers without attention or without FFN cannot be written as a Hugging Face directory of ",
        arch.hf_model_type);
    ESP_CHECK(
        !arch.keys.rope_scaling.empty() || (dims.rope_scaling.factor == 1 && dims.rope_linear == 1),
        unsupported, "a ", arch.hf_model_type, " with scaled positions has no Hugging Face form");
    return arch;
  }
  const bool lacks = arch::lacks_blocks(arch, dims), unequal = lacks || !dims.uniform();
  if (const arch::Arch* other = unequal ? arch::as_unequal_layers(arch, dims) : nullptr)
    return *other;
  ESP_CHECK(dims.uniform(), unsupported,
            "layers of unequal size cannot be written as a Hugging Face directory: the ",
            arch.hf_model_type,
            " architecture has one size for all layers; choose equal sizes in every layer");
  const std::int64_t heads = dims.layers.front().heads();
  ESP_CHECK(
      !lacks, unsupported,
      "layers without attention or without FFN cannot be written as a Hugging Face directory of ",
      arch.hf_model_type);
  // A GGUF file need not be a model that transformers calls so.
  if (arch::has_optional(arch, arch::Present::output_bias) &&
      dims.attention_bias != dims.output_bias) {
    const arch::Arch* other = stand_in(arch, dims);
    ESP_CHECK(other != nullptr, unsupported, "a ", arch.hf_model_type,
              " with some of the attention's biases has no Hugging Face form");
    return *other;
  }
  const bool divides = heads * dims.head_dim == dims.hidden;
  ESP_CHECK(divides || !arch.keys.head_dim.empty(), unsupported, "hidden ", dims.hidden, " is not ",
            heads, " heads of ", dims.head_dim, " values, and ", arch.hf_model_type,
            " has no other sizes of heads; cut kv_groups and hidden in proportion");
  ESP_CHECK(divides || !dims.long_rope.used(), unsupported, "hidden ", dims.hidden, " is not ",
            heads, " heads of ", dims.head_dim,
            " values: transformers refuses LongRoPE's divisors then; cut kv_groups and hidden in "
            "proportion");
  ESP_CHECK(!arch.long_rope || dims.rope_linear == 1, unsupported, "a ", arch.hf_model_type,
            " with linearly scaled positions has no Hugging Face form");
  ESP_CHECK(!arch.keys.groups.empty() || dims.layers.front()[arch::Axis::q_per_kv] == 1,
            unsupported, arch.hf_model_type, " has no groups of heads");
  if (!arch.heads_divide_hidden || dims.hidden % heads == 0) return arch;
  // transformers refuses such configs, although head_dim is stated.
  const arch::Arch* other = stand_in(arch, dims);
  ESP_CHECK(other != nullptr, unsupported, "hidden ", dims.hidden, " is not a multiple of ", heads,
            " heads: transformers refuses such a ", arch.hf_model_type, "; choose a multiple");
  return *other;
}

bool has_hf_form(const arch::Arch& arch, const arch::ModelDims& dims) {
  try {
    static_cast<void>(hf_family_for(arch, dims));
    return true;
  } catch (const core::Error&) {
    return false;
  }
}

bool needs_remote_code(const arch::Arch& arch, const arch::ModelDims& dims) {
  return hf_family_for(arch, dims).unequal_layers;
}

// What is written are floats, whatever the source's config says.
static Json parse_base(const std::string& base) {
  if (base.empty()) return Json::object();
  Json config = format::parse_json<Json>(base, "base config.json");
  ESP_CHECK(config.is_object(), input, "base config.json: expected a JSON object");
  for (const char* key : {"compression_config", "quantization", "quantization_config"})
    config.erase(key);
  return config;
}

std::string make_hf_config(const arch::Arch& family, const arch::ModelDims& family_dims,
                           const std::string& base, format::FormatId dtype,
                           const text::TokenizerData* tokenizer) {
  const arch::Arch& arch = hf_family_for(family, family_dims);
  arch::ModelDims dims = family_dims;
  const arch::TensorSpec* bias = arch::find_spec(family, arch::Role::attn_q_bias);
  if (arch::has_optional(arch, arch::Present::attention_bias) && bias != nullptr &&
      arch::present(*bias, dims))
    dims.attention_bias = true;  // some families have these biases without a key
  Json config = parse_base(base);
  const arch::LayerDims& layer = dims.layers.front();
  if (arch.name != family.name) drop_keys_of(family, arch, config);
  config["architectures"] = Json::array({std::string(arch.hf_architecture)});
  config["model_type"] = std::string(arch.hf_model_type);
  config["vocab_size"] = dims.vocab;
  const auto set = [&](std::string_view key, const auto& value) {
    if (!key.empty()) config[std::string(key)] = value;
  };
  set(arch.keys.hidden, dims.hidden);
  for (const arch::Axis axis : arch::kLayerAxes) {
    std::int64_t size = 0;  // of the layers that have their block
    for (const arch::LayerDims& l : dims.layers) size = std::max(size, l[axis]);
    if (size > 0) set(arch.keys.sizes[axis], size);
    if (!arch.keys.other_sizes[axis].empty())
      config.erase(std::string(arch.keys.other_sizes[axis]));
  }
  set(arch.keys.layers, dims.n_layers());
  Json dense = Json::array();
  for (std::size_t l = 0; l < dims.layers.size(); ++l)
    if (dims.layers[l][arch::Axis::experts] == 0) dense.push_back(l);
  set(arch.keys.dense_layers, dense);
  set(arch.keys.sparse_step, 1);
  set(arch.keys.heads, layer.heads());
  set(arch.keys.groups, layer[arch::Axis::kv_groups]);
  set(arch.keys.head_dim, dims.head_dim);
  set(arch.keys.positions, dims.positions);
  const FamilyConfig* own = family_config(arch);
  const bool all = own != nullptr && own->write != nullptr;
  if (all)
    own->write(config, dims);
  else
    set_traits(config, arch, dims);
  set(arch.keys.norm_eps, dims.norm_eps);
  set_code(config, arch);
  if (own != nullptr && own->write_layers != nullptr) own->write_layers(config, dims);
  if (dims.output_bias != dims.attention_bias) set(arch.keys.output_bias, dims.output_bias);
  if (!all) set_rope(config, arch, dims);
  config["tie_word_embeddings"] = dims.tied;
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = dtype_name(dtype);
  if (tokenizer != nullptr) fill_token_ids(config, *tokenizer);
  if (arch.default_token_ids)
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
      if (!config.contains(key)) config[key] = nullptr;
  return config.dump(2) + "\n";
}

}  // namespace espalier::checkpoint
