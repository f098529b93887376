// SPDX-License-Identifier: Apache-2.0
// config.json of a Hugging Face model -> architecture and sizes. Every key must be read, checked or
// neutral (neutral_keys.h). Any other key is refused by name, because ignoring an unknown trait
// gives a model that is silently wrong. Key styles: transformers 4 and 5. config_rope.cpp reads the
// keys of rotary embedding.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "arch/factors.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/config_rope.h"
#include "checkpoint/family_config.h"
#include "checkpoint/stated_tokens.h"
#include "core/error.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using nlohmann::json;

// Of a family without windows. A window that is switched off, or that no text can leave, is none.
void parse_unused_window(ConfigReader& config, const arch::ModelDims& dims) {
  const json* window = config.find("sliding_window");
  const json* used = config.find("use_sliding_window");
  if (used != nullptr && is_off(*used)) return;
  if (window != nullptr && window->is_number() &&
      window->get<double>() >= static_cast<double>(dims.positions))
    return;
  config.refuse("sliding_window", "sliding-window attention is not supported in this family");
  if (window == nullptr) config.only("use_sliding_window", false);
}

// Which layers use a window: "layer_types", else the rule of the family.
void parse_windows(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                   arch::ModelDims& dims) {
  const json* types = config.find("layer_types");
  const auto is_type = [](const json& type, std::string_view name) {
    return type.is_string() && type.get<std::string>() == name;
  };
  if (arch.window_period == arch::kNoWindow) {
    parse_unused_window(config, dims);
    bool full = arch.attention_type.empty();
    if (types != nullptr) {
      full = types->is_array();
      if (full)
        for (const json& type : *types)
          full = full && (is_type(type, "full_attention") ||
                          (!arch.attention_type.empty() && is_type(type, arch.attention_type)));
    }
    if (!full)
      problems.unsupported("key \"layer_types\" is ",
                           types == nullptr ? "missing" : ConfigReader::shown(*types),
                           "; only \"full_attention\" is supported in every layer");
    return;
  }
  dims.window = config.find("sliding_window") == nullptr && config.present("sliding_window")
                    ? 0
                    : config.size("sliding_window", kMaxPositions, arch.defaults.window);
  // The first windowed layer, for families without windows of their own.
  std::int64_t first = dims.n_layers();
  if (arch.window_period == arch::kOnlyListed) {
    if (config.present("max_window_layers"))
      first = config.size_or_zero("max_window_layers", kMaxLayers);
    if (!config.boolean("use_sliding_window", false)) dims.window = 0;
  }
  std::int64_t period = arch.window_period;
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"})
    if (period > arch::kOnlyListed && period != arch::kEveryLayer && config.find(key) != nullptr)
      period = config.size(key, kMaxLayers);
  if (types != nullptr && (!types->is_array() || types->size() != dims.layers.size())) {
    if (!dims.layers.empty())
      problems.input("key \"layer_types\" is ", ConfigReader::shown(*types),
                     ", expected a list of ", dims.layers.size(), " names, one for each layer");
    return;
  }
  bool any = false;
  for (std::size_t l = 0; l < dims.layers.size(); ++l) {
    const auto index = static_cast<std::int64_t>(l);
    bool local = arch.window_period == arch::kOnlyListed ? index >= first
                                                         : period > 0 && (index + 1) % period != 0;
    if (types != nullptr) {
      const json& type = (*types)[l];
      local = is_type(type, "sliding_attention");
      if (!local && !is_type(type, "full_attention"))
        problems.unsupported("key \"layer_types\" has ", ConfigReader::shown(type),
                             "; supported are \"full_attention\" and \"sliding_attention\"");
    }
    dims.layers[l].local = dims.window > 0 && local;
    any = any || dims.layers[l].local;
  }
  if (!any) dims.window = 0;
}

void parse_layers_without_rope(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                               arch::ModelDims& dims) {
  if (arch.no_rope_period == 0) return;
  const std::int64_t period =
      config.size("no_rope_layer_interval", kMaxLayers, arch.no_rope_period);
  const json* list = config.find("no_rope_layers");  // 1: the layer has positions
  const bool usable = list == nullptr || (list->is_array() && list->size() >= dims.layers.size());
  if (!usable)
    problems.input("key \"no_rope_layers\" is ", ConfigReader::shown(*list),
                   ", expected a list of 0 and 1, one for each layer");
  for (std::size_t l = 0; usable && period > 0 && l < dims.layers.size(); ++l) {
    dims.layers[l].rope = (static_cast<std::int64_t>(l) + 1) % period != 0;
    if (list == nullptr) continue;
    const json& entry = (*list)[l];
    if (!entry.is_number_integer() ||
        (entry.get<std::int64_t>() != 0 && entry.get<std::int64_t>() != 1)) {
      problems.input("key \"no_rope_layers\": entry ", l, " is ", ConfigReader::shown(entry),
                     ", expected 0 or 1");
      return;
    }
    dims.layers[l].rope = entry.get<std::int64_t>() == 1;
  }
}

// A model may carry its own code. That is harmless when the code is the family's, from before
// transformers had it.
void parse_own_code(ConfigReader& config, const arch::Arch& arch) {
  const json* map = config.find("auto_map");
  if (map == nullptr) return;
  const json* causal = map->is_object() && map->contains("AutoModelForCausalLM")
                           ? &map->at("AutoModelForCausalLM")
                           : nullptr;
  bool any = !map->is_object();  // code of a tokenizer or a processor is none of the model's
  if (map->is_object())
    for (const auto& [key, code] : map->items())
      any = any || key.starts_with("AutoModel") || key == "AutoConfig";
  const std::string tail = std::string(".").append(arch.hf_architecture);
  if (!any ||
      (causal != nullptr && causal->is_string() && causal->get<std::string>().ends_with(tail)))
    return;
  config.refuse("auto_map", "the model carries its own code");
}

// Which tool the config says has quantized the weights. Whether it has, the tensors say.
std::string quantization_of(ConfigReader& config) {
  std::string tool;
  for (const char* key : {"compression_config", "quantization", "quantization_config"}) {
    const json* value = config.find(key);
    if (value == nullptr || is_off(*value)) continue;
    const bool named = value->is_object() && value->contains("quant_method") &&
                       value->at("quant_method").is_string();
    tool = named ? value->at("quant_method").get<std::string>() : key;
  }
  return tool;
}

// Names that transformers has for one function.
constexpr std::string_view kSilu[] = {"silu", "swish"};
constexpr std::string_view kGeluTanh[] = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast",
                                          "gelu_accurate", "gelu_python_tanh"};

void parse_activation(ConfigReader& config, const std::string& key, std::string_view name) {
  const json* value = config.find(key);
  for (const std::span<const std::string_view> names :
       {std::span<const std::string_view>(kSilu), std::span<const std::string_view>(kGeluTanh)})
    if (value != nullptr && value->is_string() &&
        std::find(names.begin(), names.end(), name) != names.end() &&
        std::find(names.begin(), names.end(), value->get<std::string>()) != names.end())
      return;
  config.only(key, std::string(name));
}

void check_traits(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                  arch::ModelDims& dims) {
  const arch::ConfigKeys& keys = arch.keys;
  for (const std::string_view key : {keys.activation, keys.other_activation})
    if (!key.empty()) parse_activation(config, std::string(key), keys.activation_name);
  if (!keys.other_positions.empty())
    config.size(std::string(keys.other_positions), kMaxPositions, dims.positions);
  const auto bias = [&](const char* key, arch::Present present) {
    if (arch::has_optional(arch, present)) return config.boolean(key, false);
    // Families that have these biases whatever the key says.
    const bool always = present == arch::Present::attention_bias &&
                        (arch::find_spec(arch, arch::Role::attn_q_bias) != nullptr ||
                         arch::find_spec(arch, arch::Role::attn_qkv_bias) != nullptr);
    if (always)
      config.boolean(key, true);
    else
      config.only(key, false);
    return false;
  };
  dims.attention_bias = bias("attention_bias", arch::Present::attention_bias);
  dims.output_bias = dims.attention_bias && arch::has_optional(arch, arch::Present::output_bias);
  if (!keys.output_bias.empty())
    dims.output_bias = config.boolean(std::string(keys.output_bias), dims.output_bias);
  dims.mlp_bias = bias("mlp_bias", arch::Present::mlp_bias);
  parse_own_code(config, arch);
  parse_windows(config, problems, arch, dims);
  parse_layers_without_rope(config, problems, arch, dims);
  const auto cap = [&](std::string_view name, double absent) {
    const std::string key(name);
    if (key.empty()) return 0.0;
    if (config.find(key) != nullptr) return config.positive(key, std::nullopt);
    return config.present(key) ? 0.0 : absent;
  };
  if (!keys.query_scalar.empty()) {
    const double scalar =
        config.positive(std::string(keys.query_scalar), arch.defaults.query_scalar);
    if (scalar != static_cast<double>(dims.head_dim)) dims.attention_scale = 1 / std::sqrt(scalar);
  }
  for (const arch::ConfigValue& one : arch.config) {
    const std::string key(one.key);
    if (config.find(key) == nullptr && one.required)
      problems.unsupported("key \"", key, "\" is missing; only ", one.value, " is supported");
    else if (!one.value.empty())
      config.only(key, json::parse(one.value));
  }
  for (const arch::Factor& factor : arch::kFactors)
    if (factor.stated_by(arch))
      dims.*factor.value = config.positive(std::string(arch.keys.*factor.config), 1.0);
  dims.attention_softcap = cap(keys.attention_softcap, arch.defaults.attention_softcap);
  dims.logit_softcap = cap(keys.logit_softcap, arch.defaults.logit_softcap);
}

// The sizes that have keys. Another version's key counts where the usual one is absent, and may not
// contradict it. `no_ffn` is the width of the FFN without its key.
arch::LayerDims parse_keyed_sizes(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                                  std::optional<std::int64_t> no_ffn) {
  arch::LayerDims out;
  for (const arch::Axis axis : arch::kLayerAxes) {
    const std::string key(arch.keys.sizes[axis]), other(arch.keys.other_sizes[axis]);
    if (key.empty()) continue;
    const bool renamed = !other.empty() && config.find(other) != nullptr;
    const std::int64_t stated = renamed ? config.size(other, kMaxWidth) : 0;
    if (renamed)
      out[axis] = config.size(key, kMaxWidth, stated);
    else
      out[axis] = config.size(key, kMaxWidth, axis == arch::Axis::ffn ? no_ffn : std::nullopt);
    if (renamed && out[axis] != stated)
      problems.input("keys \"", key, "\" (", out[axis], ") and \"", other, "\" (", stated,
                     ") differ");
  }
  return out;
}

// Takes the experts from the layers that have an FFN in their place.
void parse_dense_layers(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                        std::vector<arch::LayerDims>& layers) {
  if (arch.keys.sparse_step.empty()) return;
  const std::string key(arch.keys.dense_layers);
  const std::int64_t step = config.size(std::string(arch.keys.sparse_step), kMaxLayers, 1);
  const json* list = config.find(key);
  std::vector<bool> dense(layers.size());
  for (std::size_t l = 0; step > 0 && l < layers.size(); ++l)
    dense[l] = (static_cast<std::int64_t>(l) + 1) % step != 0;
  for (const json& entry : list != nullptr && list->is_array() ? *list : json::array())
    if (entry.is_number_unsigned() && entry.get<std::uint64_t>() < layers.size())
      dense[entry.get<std::size_t>()] = true;
    else
      problems.input("key \"", key, "\" has ", ConfigReader::shown(entry),
                     ", expected indices of the ", layers.size(), " layers");
  if (list != nullptr && !list->is_array())
    problems.input("key \"", key, "\" is ", ConfigReader::shown(*list), ", expected a list");
  if (std::find(dense.begin(), dense.end(), false) == dense.end())
    problems.unsupported("no layer has experts, by keys \"", arch.keys.sparse_step, "\" and \"",
                         key, "\": such a model is of another family");
  for (std::size_t l = 0; l < layers.size(); ++l) {
    if (!dense[l]) continue;
    for (const arch::Axis axis :
         {arch::Axis::experts, arch::Axis::expert_ffn, arch::Axis::experts_per_token})
      layers[l][axis] = 0;
    if (layers[l][arch::Axis::ffn] == 0)
      return problems.input("key \"", arch.keys.sizes[arch::Axis::ffn], "\" is missing, and layer ",
                            l, " has no experts");
  }
}

arch::ModelDims parse_sizes(ConfigReader& config, Problems& problems, const arch::Arch& arch) {
  arch::ModelDims dims;
  dims.vocab = config.size("vocab_size", kMaxVocab);
  const std::string hidden_key(arch.keys.hidden), heads_key(arch.keys.heads),
      groups_key(arch.keys.groups), head_dim_key(arch.keys.head_dim);
  dims.hidden = config.size(hidden_key, kMaxWidth);
  const FamilyConfig* own = family_config(arch);
  std::optional<std::int64_t> no_ffn;  // the width of the FFN without its key
  if (arch.defaults.ffn_per_hidden > 0) no_ffn = arch.defaults.ffn_per_hidden * dims.hidden;
  if (own != nullptr && config.find(std::string(own->layers_key)) != nullptr) no_ffn = 1;
  if (!arch.keys.sparse_step.empty()) {
    no_ffn = 0;
    for (const std::string_view key : {arch.keys.dense_layers, arch.keys.sparse_step})
      config.find(std::string(key));  // known, whatever else is wrong
  }
  arch::LayerDims layer = parse_keyed_sizes(config, problems, arch, no_ffn);
  const std::int64_t layers = config.size(std::string(arch.keys.layers), kMaxLayers);
  const std::int64_t heads = config.size(heads_key, kMaxWidth);
  const std::int64_t groups =
      groups_key.empty() ? heads : config.size(groups_key, kMaxWidth, heads);
  const bool has_head_dim = !head_dim_key.empty() && config.find(head_dim_key) != nullptr;
  dims.head_dim = has_head_dim ? config.size(head_dim_key, kMaxWidth) : arch.defaults.head_dim;
  if (!has_head_dim && dims.head_dim == 0 && heads > 0 && dims.hidden > 0) {
    if (dims.hidden % heads == 0)
      dims.head_dim = dims.hidden / heads;
    else
      problems.input("key \"", hidden_key, "\" (", dims.hidden, ") is not a multiple of \"",
                     heads_key, "\" (", heads, ")",
                     head_dim_key.empty() ? "" : " and there is no \"head_dim\"");
  }
  if (dims.head_dim % 2 != 0 && !arch::learned_positions(arch))
    problems.input("key \"head_dim\" (", dims.head_dim, ") must be even for rotary embedding");
  if (heads > 0 && groups > 0 && heads % groups != 0)
    problems.input("key \"", heads_key, "\" (", heads, ") is not a multiple of \"", groups_key,
                   "\" (", groups, ")");
  if (dims.head_dim > 0 && heads > kMaxWidth / dims.head_dim)
    problems.input("keys \"", heads_key, "\" (", heads, ") times \"head_dim\" (", dims.head_dim,
                   ") exceed ", kMaxWidth);
  dims.positions =
      config.size(std::string(arch.keys.positions), kMaxPositions, arch.defaults.positions);
  dims.norm_eps = config.positive(std::string(arch.keys.norm_eps), arch.defaults.norm_eps);
  dims.tied = config.boolean(std::string(arch.keys.tied), arch.defaults.tied);
  if (problems.empty()) {
    layer[arch::Axis::kv_groups] = groups;
    layer[arch::Axis::q_per_kv] = heads / groups;
    dims.layers.assign(static_cast<std::size_t>(layers), layer);
    parse_dense_layers(config, problems, arch, dims.layers);
    for (arch::LayerDims& l : dims.layers) arch::keep_one_block(arch, l);
  }
  if (own != nullptr && problems.empty()) own->read_layers(config, problems, dims, heads);
  return dims;
}

}  // namespace

ParsedConfig parse_hf_config(const std::string& json_text, const std::string& path) {
  const json root = format::parse_json<json>(json_text, path);
  ESP_CHECK(root.is_object(), input, path, ": expected a JSON object, found ",
            ConfigReader::shown(root));
  Problems problems(path);
  ConfigReader config(root, problems);

  ParsedConfig parsed{.arch = nullptr, .dims = {}};
  const json* type = config.find("model_type");
  ESP_CHECK(type != nullptr && type->is_string(), input, path,
            ": key \"model_type\" is missing or not a string; is this a model's config.json?");
  parsed.arch = arch::arch_by_hf_model_type(type->get<std::string>());
  if (parsed.arch == nullptr) {  // the keys of an unknown family cannot be judged, so stop here
    std::string known;
    for (const arch::Arch* a : arch::all_archs())
      for (const std::string_view name : {a->hf_model_type, a->other_model_type})
        if (!name.empty()) known += (known.empty() ? "" : ", ") + std::string(name);
    core::fail(core::ErrorKind::unsupported, path, ": model_type ", ConfigReader::shown(*type),
               " is not supported; supported: ", known);
  }
  const FamilyConfig* own = family_config(*parsed.arch);
  if (own != nullptr && own->read != nullptr) {
    parsed.dims = own->read(config, problems, *parsed.arch);
  } else {
    parsed.dims = parse_sizes(config, problems, *parsed.arch);
    parse_rope(config, problems, *parsed.arch, parsed.dims);
  }
  check_traits(config, problems, *parsed.arch, parsed.dims);
  parsed.quantization = quantization_of(config);
  if (parsed.dims.vocab > 0) check_stated_tokens(root, parsed.dims.vocab, problems);
  const bool complete = problems.empty();  // else what the keys say cannot be compared
  config.refuse_unknown({}, [&](const std::string& key, const json& value) {
    const Neutral neutral = neutral_key(key, value, *parsed.arch, parsed.dims);
    return complete || neutral.against.empty() ? neutral : Neutral{.yes = true};
  });
  problems.raise();
  arch::require_sizes(*parsed.arch, parsed.dims, path);
  return parsed;
}

}  // namespace espalier::checkpoint
