// config.json of a Hugging Face model -> architecture and sizes. Strict: a key that is neither read, nor checked, nor on the list of
// harmless ones is refused by name, because an unknown trait that is ignored gives a model that is silently wrong.
// Key styles: transformers 4 (rope_theta, rope_scaling, torch_dtype) and 5 (rope_parameters, dtype).
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/problems.h"
#include "core/error.h"
#include "core/units.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using nlohmann::json;

// Bounds on sizes: far above any model, low enough that no product of three overflows and no list of tensors exhausts memory.
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 20, kMaxLayers = 4096, kMaxVocab = std::int64_t{1} << 24;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 40;

// Keys without influence on the forward pass of a decoder.
const std::set<std::string>& harmless_keys() {
  static const std::set<std::string> keys = {
      "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "architectures", "attention_dropout", "attn_implementation",
      "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "cache_implementation", "chunk_size_feed_forward", "decoder_start_token_id",
      "diversity_penalty", "do_sample", "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id",
      "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "id2label",
      "initializer_range", "is_llama_config", "label2id", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size",
      "num_beam_groups", "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
      "pad_token_id", "prefix", "pretraining_tp", "problem_type", "remove_invalid_values", "repetition_penalty", "return_dict",
      "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params", "temperature", "tokenizer_class", "top_k",
      "top_p", "torch_dtype", "torchscript", "transformers.js_config", "transformers_version", "typical_p", "unsloth_fixed",
      "unsloth_version", "use_bfloat16", "use_cache"};
  return keys;
}

class Reader {
 public:
  Reader(const json& object, Problems& problems, std::string prefix = "") : object_(object), problems_(problems), prefix_(std::move(prefix)) {}

  // Present and not null.
  const json* find(const std::string& key) {
    seen_.insert(key);
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  bool present(const std::string& key) const { return object_.contains(key); }  // null counts
  std::int64_t size_or_zero(const std::string& key, std::int64_t max) {
    const json* value = find(key);
    if (value != nullptr && value->is_number_integer() && *value == 0) return 0;
    return size(key, max, 0);
  }
  std::int64_t size(const std::string& key, std::int64_t max, std::optional<std::int64_t> absent = std::nullopt) {
    const json* value = find(key);
    if (value == nullptr) {
      if (!absent) problems_.input("key \"", prefix_, key, "\" is missing");
      return absent.value_or(0);
    }
    if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(max)) ||
        value->get<std::int64_t>() < 1 || value->get<std::int64_t>() > max) {
      problems_.input("key \"", prefix_, key, "\" is ", shown(*value), ", expected an integer between 1 and ", max);
      return 0;
    }
    return value->get<std::int64_t>();
  }
  double positive(const std::string& key, std::optional<double> absent) {
    const json* value = find(key);
    if (value == nullptr) {
      if (!absent) problems_.input("key \"", prefix_, key, "\" is missing");
      return absent.value_or(1);
    }
    if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() <= 0) {
      problems_.input("key \"", prefix_, key, "\" is ", shown(*value), ", expected a positive number");
      return absent.value_or(1);
    }
    return value->get<double>();
  }
  bool boolean(const std::string& key, bool absent) {
    const json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) {
      problems_.input("key \"", prefix_, key, "\" is ", shown(*value), ", expected true or false");
      return absent;
    }
    return value->get<bool>();
  }
  // A trait of which one value alone is implemented; absent and null mean that value.
  void only(const std::string& key, const json& supported) {
    const json* value = find(key);
    if (value != nullptr && *value != supported)
      problems_.unsupported("key \"", prefix_, key, "\" is ", shown(*value), "; only ", supported.dump(), " is supported");
  }
  void refuse(const std::string& key, const char* reason) {
    if (find(key) != nullptr) problems_.unsupported("key \"", prefix_, key, "\": ", reason);
  }
  void refuse_unknown(const std::set<std::string>& harmless) {
    std::vector<std::string> known(seen_.begin(), seen_.end());
    known.insert(known.end(), harmless.begin(), harmless.end());
    for (const auto& [key, value] : object_.items()) {
      if (seen_.count(key) != 0 || harmless.count(key) != 0) continue;
      const std::string near = core::nearest_name(key, known.data(), known.size());
      problems_.unsupported("unknown key \"", prefix_, key, "\" = ", shown(value),
                            near.empty() ? "; it may change what the model computes, remove it if it does not" : "; did you mean \"" + near + "\"?");
    }
  }
  static std::string shown(const json& value) {
    std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    return text;
  }

 private:
  const json& object_;
  Problems& problems_;
  std::string prefix_;
  std::set<std::string> seen_;
};

// "rope_scaling" (transformers 4) or "rope_parameters" (5).
void parse_rope_object(const json& object, const std::string& key, Problems& problems, arch::ModelDims& dims, std::optional<double>& theta) {
  if (!object.is_object()) {
    problems.input("key \"", key, "\" is ", Reader::shown(object), ", expected an object");
    return;
  }
  Reader rope(object, problems, key + ".");
  const json* type = rope.find("rope_type");
  const json* old_type = rope.find("type");
  if (type == nullptr) type = old_type;
  const std::string kind = type == nullptr ? "default" : type->is_string() ? type->get<std::string>() : Reader::shown(*type);
  if (rope.find("rope_theta") != nullptr) theta = rope.positive("rope_theta", std::nullopt);
  rope.only("partial_rotary_factor", 1.0);
  if (kind == "llama3") {
    dims.rope_scaling.factor = rope.positive("factor", std::nullopt);
    dims.rope_scaling.low_freq_factor = rope.positive("low_freq_factor", std::nullopt);
    dims.rope_scaling.high_freq_factor = rope.positive("high_freq_factor", std::nullopt);
    dims.rope_scaling.original_positions = rope.size("original_max_position_embeddings", kMaxPositions);
    if (dims.rope_scaling.high_freq_factor <= dims.rope_scaling.low_freq_factor)
      problems.input("key \"", key, ".high_freq_factor\" must be larger than low_freq_factor");
  } else if (kind != "default") {
    problems.unsupported("key \"", key, ".rope_type\" is \"", kind, "\"; supported are \"default\" and \"llama3\"");
    return;  // the other keys belong to that type
  }
  rope.refuse_unknown({});
}

void parse_rope(Reader& config, Problems& problems, const arch::Arch& arch, arch::ModelDims& dims) {
  std::optional<double> theta;
  if (config.find("rope_theta") != nullptr) theta = config.positive("rope_theta", 10000.0);
  if (const json* scaling = config.find("rope_scaling")) parse_rope_object(*scaling, "rope_scaling", problems, dims, theta);
  const bool has_local = arch.defaults.local_rope_theta > 0;
  if (has_local) dims.local_rope_theta = config.positive("rope_local_base_freq", arch.defaults.local_rope_theta);
  const json* parameters = config.find("rope_parameters");
  if (parameters != nullptr && has_local && parameters->is_object() && (parameters->contains("full_attention") || parameters->contains("sliding_attention"))) {
    Reader kinds(*parameters, problems, "rope_parameters.");
    if (const json* global = kinds.find("full_attention")) parse_rope_object(*global, "rope_parameters.full_attention", problems, dims, theta);
    if (const json* local = kinds.find("sliding_attention")) {
      arch::ModelDims ignored;
      std::optional<double> local_theta;
      parse_rope_object(*local, "rope_parameters.sliding_attention", problems, ignored, local_theta);
      if (ignored.rope_scaling.factor != 1) problems.unsupported("key \"rope_parameters.sliding_attention\": scaling of local layers is not supported");
      dims.local_rope_theta = local_theta.value_or(dims.local_rope_theta);
    }
    kinds.refuse_unknown({});
  } else if (parameters != nullptr) {
    const std::optional<double> outer = theta;
    const arch::RopeScaling scaling = dims.rope_scaling;
    const bool had_scaling = config.find("rope_scaling") != nullptr;
    parse_rope_object(*parameters, "rope_parameters", problems, dims, theta);
    if (outer && theta != outer) problems.input("keys \"rope_theta\" and \"rope_parameters.rope_theta\" contradict each other");
    if (had_scaling && !(scaling == dims.rope_scaling)) problems.input("keys \"rope_scaling\" and \"rope_parameters\" contradict each other");
  }
  dims.rope_theta = theta.value_or(arch.defaults.rope_theta);
}

// Which layers look at a window: "layer_types", else the family's rule.
void parse_windows(Reader& config, Problems& problems, const arch::Arch& arch, arch::ModelDims& dims) {
  const json* types = config.find("layer_types");
  const auto is_type = [](const json& type, const char* name) { return type.is_string() && type.get<std::string>() == name; };
  if (arch.window_period == arch::kNoWindow) {
    config.refuse("sliding_window", "sliding-window attention is not supported in this family");
    config.only("use_sliding_window", false);
    bool full = true;
    if (types != nullptr) {
      full = types->is_array();
      if (full)
        for (const json& type : *types) full = full && is_type(type, "full_attention");
    }
    if (!full) problems.unsupported("key \"layer_types\" is ", Reader::shown(*types), "; only \"full_attention\" is supported in every layer");
    return;
  }
  dims.window = config.find("sliding_window") == nullptr && config.present("sliding_window") ? 0 : config.size("sliding_window", kMaxPositions, arch.defaults.window);
  std::int64_t first = dims.n_layers();  // of the windows of families that have none by themselves
  if (arch.window_period == arch::kOnlyListed) {
    if (config.present("max_window_layers")) first = config.size_or_zero("max_window_layers", kMaxLayers);
    if (!config.boolean("use_sliding_window", false)) dims.window = 0;
  }
  std::int64_t period = arch.window_period;
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"})
    if (period > arch::kOnlyListed && period != arch::kEveryLayer && config.find(key) != nullptr) period = config.size(key, kMaxLayers);
  if (types != nullptr && (!types->is_array() || types->size() != dims.layers.size())) {
    if (!dims.layers.empty())
      problems.input("key \"layer_types\" is ", Reader::shown(*types), ", expected a list of ", dims.layers.size(), " names, one for each layer");
    return;
  }
  bool any = false;
  for (std::size_t l = 0; l < dims.layers.size(); ++l) {
    const auto index = static_cast<std::int64_t>(l);
    bool local = arch.window_period == arch::kOnlyListed ? index >= first : period > 0 && (index + 1) % period != 0;
    if (types != nullptr) {
      const json& type = (*types)[l];
      local = is_type(type, "sliding_attention");
      if (!local && !is_type(type, "full_attention"))
        problems.unsupported("key \"layer_types\" has ", Reader::shown(type), "; supported are \"full_attention\" and \"sliding_attention\"");
    }
    dims.layers[l].local = dims.window > 0 && local;
    any = any || dims.layers[l].local;
  }
  if (!any) dims.window = 0;
}

void parse_layers_without_rope(Reader& config, Problems& problems, const arch::Arch& arch, arch::ModelDims& dims) {
  if (arch.no_rope_period == 0) return;
  const std::int64_t period = config.size("no_rope_layer_interval", kMaxLayers, arch.no_rope_period);
  const json* list = config.find("no_rope_layers");  // 1: with positions
  const bool usable = list == nullptr || (list->is_array() && list->size() >= dims.layers.size());
  if (!usable) problems.input("key \"no_rope_layers\" is ", Reader::shown(*list), ", expected a list of 0 and 1, one for each layer");
  for (std::size_t l = 0; usable && period > 0 && l < dims.layers.size(); ++l) {
    dims.layers[l].rope = (static_cast<std::int64_t>(l) + 1) % period != 0;
    if (list == nullptr) continue;
    const json& entry = (*list)[l];
    if (!entry.is_number_integer() || (entry.get<std::int64_t>() != 0 && entry.get<std::int64_t>() != 1)) {
      problems.input("key \"no_rope_layers\": entry ", l, " is ", Reader::shown(entry), ", expected 0 or 1");
      return;
    }
    dims.layers[l].rope = entry.get<std::int64_t>() == 1;
  }
}

void check_traits(Reader& config, Problems& problems, const arch::Arch& arch, arch::ModelDims& dims) {
  switch (arch.activation) {
    case arch::Activation::silu: config.only("hidden_act", "silu"); break;
    case arch::Activation::gelu_tanh:
      config.only("hidden_act", "gelu_pytorch_tanh");
      config.only("hidden_activation", "gelu_pytorch_tanh");
      break;
  }
  const auto bias = [&](const char* key, arch::Present present) {
    if (arch::has_optional(arch, present)) return config.boolean(key, false);
    config.only(key, false);
    return false;
  };
  dims.attention_bias = bias("attention_bias", arch::Present::attention_bias);
  dims.output_bias = dims.attention_bias && arch::has_optional(arch, arch::Present::output_bias);
  dims.mlp_bias = bias("mlp_bias", arch::Present::mlp_bias);
  for (const char* key : {"qkv_bias", "rope_interleaved", "use_qk_norm", "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size",
                          "tie_encoder_decoder", "use_bidirectional_attention"})
    config.only(key, false);
  config.find("is_decoder");  // a causal language model is one whatever this says
  config.only("partial_rotary_factor", 1.0);
  config.refuse("quantization_config", "the weights are quantized by another tool; save a float version first");
  config.refuse("auto_map", "the model carries its own code");
  config.only("pruned_heads", json::object());
  parse_windows(config, problems, arch, dims);
  parse_layers_without_rope(config, problems, arch, dims);
  const auto cap = [&](const char* key, double absent) {
    if (config.find(key) != nullptr) return config.positive(key, std::nullopt);
    return config.present(key) ? 0.0 : absent;
  };
  if (arch.scaled_embedding) {  // Gemma
    const double scalar = config.positive("query_pre_attn_scalar", 256.0);
    if (scalar != static_cast<double>(dims.head_dim)) dims.attention_scale = 1 / std::sqrt(scalar);
    dims.attention_softcap = cap("attn_logit_softcapping", arch.defaults.attention_softcap);
    dims.logit_softcap = cap("final_logit_softcapping", arch.defaults.logit_softcap);
  }
}

arch::ModelDims parse_sizes(Reader& config, Problems& problems, const arch::Arch& arch) {
  arch::ModelDims dims;
  dims.vocab = config.size("vocab_size", kMaxVocab);
  dims.hidden = config.size("hidden_size", kMaxWidth);
  const std::int64_t ffn = config.size("intermediate_size", kMaxWidth);
  const std::int64_t layers = config.size("num_hidden_layers", kMaxLayers);
  const std::int64_t heads = config.size("num_attention_heads", kMaxWidth);
  const std::int64_t groups = config.size("num_key_value_heads", kMaxWidth, heads);
  const bool has_head_dim = config.find("head_dim") != nullptr;
  dims.head_dim = config.size("head_dim", kMaxWidth, arch.defaults.head_dim);
  if (!has_head_dim && dims.head_dim == 0 && heads > 0 && dims.hidden > 0) {
    if (dims.hidden % heads == 0)
      dims.head_dim = dims.hidden / heads;
    else
      problems.input("key \"hidden_size\" (", dims.hidden, ") is not a multiple of \"num_attention_heads\" (", heads, ") and there is no \"head_dim\"");
  }
  if (dims.head_dim % 2 != 0) problems.input("key \"head_dim\" (", dims.head_dim, ") must be even for rotary embedding");
  if (heads > 0 && groups > 0 && heads % groups != 0)
    problems.input("key \"num_attention_heads\" (", heads, ") is not a multiple of \"num_key_value_heads\" (", groups, ")");
  if (dims.head_dim > 0 && heads > kMaxWidth / dims.head_dim)
    problems.input("keys \"num_attention_heads\" (", heads, ") times \"head_dim\" (", dims.head_dim, ") exceed ", kMaxWidth);
  dims.positions = config.size("max_position_embeddings", kMaxPositions, arch.defaults.positions);
  dims.norm_eps = config.positive("rms_norm_eps", arch.defaults.norm_eps);
  dims.tied = config.boolean("tie_word_embeddings", arch.defaults.tied);
  if (problems.empty()) dims.layers.assign(static_cast<std::size_t>(layers), arch::LayerDims{groups, heads / groups, ffn});
  return dims;
}

}  // namespace

ParsedConfig parse_hf_config(const std::string& json_text, const std::string& path) {
  const json root = format::parse_json<json>(json_text, path);
  ESP_CHECK(root.is_object(), input, path, ": expected a JSON object, found ", Reader::shown(root));
  Problems problems(path);
  Reader config(root, problems);

  ParsedConfig parsed{nullptr, {}};
  const json* type = config.find("model_type");
  ESP_CHECK(type != nullptr && type->is_string(), input, path, ": key \"model_type\" is missing or not a string; is this a model's config.json?");
  parsed.arch = arch::arch_by_hf_model_type(type->get<std::string>());
  if (parsed.arch == nullptr) {  // the keys of an unknown family say nothing: stop here
    std::string known;
    for (const arch::Arch* a : arch::all_archs()) known += (known.empty() ? "" : ", ") + std::string(a->hf_model_type);
    core::fail(core::ErrorKind::unsupported, path, ": model_type ", Reader::shown(*type), " is not supported; supported: ", known);
  }
  parsed.dims = parse_sizes(config, problems, *parsed.arch);
  parse_rope(config, problems, *parsed.arch, parsed.dims);
  check_traits(config, problems, *parsed.arch, parsed.dims);
  config.refuse_unknown(harmless_keys());
  problems.raise();
  return parsed;
}

}  // namespace espalier::checkpoint
