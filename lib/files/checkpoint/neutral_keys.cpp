// SPDX-License-Identifier: Apache-2.0
// The rule for keys that leave a model as it is, with its lists.
#include "checkpoint/neutral_keys.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

namespace espalier::checkpoint {
namespace {

// Keys whose absence means something else than false, 0 or nothing.
struct OtherNeutral {
  std::string_view key, value;  // the value as JSON
};
constexpr OtherNeutral kOtherNeutral[] = {
    {"is_causal", "true"},
    {"causal", "true"},
    {"use_causal_mask", "true"},
    {"scale_attn_weights", "true"},
    {"use_rope", "true"},
    {"rope", "true"},
    {"use_rotary", "true"},
    {"rotary", "true"},
    {"logit_scale", "1"},
    {"logits_scaling", "1"},
    {"logits_multiplier", "1"},
    {"embedding_multiplier", "1"},
    {"residual_multiplier", "1"},
    {"embedding_scale", "1"},
    {"scale_emb", "1"},
    {"emb_scale", "1"},
    {"tensor_parallel", "1"},
    {"tp_size", "1"},
    {"n_group", "1"},
    {"topk_group", "1"},
    {"routed_scaling_factor", "1"},
    {"full_attn_mod", "1"},
    {"interpolate_factor", "1"},
    {"rope_ratio", "1"},
    {"rope_factor", "1"},
    {"rope_scaling_factor", "1"},
};

// What training, generation, the tokenizer or a program needs, and older versions' leftovers.
constexpr std::string_view kNames[] = {
    "architectures",
    "attn_implementation",
    "base_model",
    "begin_suppress_tokens",
    "bad_words_ids",
    "cache_implementation",
    "chunk_size_feed_forward",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_decoder_ids",
    "flash_attn",
    "flash_attention",
    "id2label",
    "ignore_index",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "label_smoothing",
    "language",
    "license",
    "loss_type",
    "make_vocab_size_divisible_by",
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_p",
    "model_name",
    "name_or_path",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_router_logits",
    "output_scores",
    "pad_vocab_size_multiple",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "return_dict",
    "return_dict_in_generate",
    "suppress_tokens",
    "softmax_in_fp32",
    "attention_softmax_in_fp32",
    "scale_attention_softmax_in_fp32",
    "seed",
    "task_specific_params",
    "temperature",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_weights",
    "trust_remote_code",
    "typical_p",
    "use_auth_token",
    "use_bfloat16",
    "use_cache",
    "use_flash_attn",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_return_dict",
    "xla_device",
    // Over how many machines it was trained.
    "cp_size",
    "dp_size",
    "ep_size",
    "expert_model_parallel_size",
    "expert_parallel_size",
    "pipeline_model_parallel_size",
    "pipeline_parallel_size",
    "pp_size",
    "tensor_model_parallel_size",
    "tensor_parallel_size",
    "world_size",
    // Lengths that `positions` decides, or that only data preparation needs.
    "max_seq_len",
    "max_seq_length",
    "max_sequence_length",
    "model_max_length",
    "n_ctx",
    "seq_len",
    "seq_length",
    "max_window_layers",
};
constexpr std::string_view kBeginnings[] = {
    "_",          "freeze_",  "init_",         "initializer_",          "summary_",
    "tokenizer_", "unsloth_", "use_gradient_", "gradient_checkpointing"};
constexpr std::string_view kEndings[] = {
    "_dropout",     "_dropout_prob", "_pdrop", "_jitter_noise", "_loss_coef",
    "_loss_weight", "_penalty",      "_std",   "_token_id",     "_token_ids",
    "_token_index", "_version",      "_dtype", "layerdrop"};
constexpr std::string_view kStringEndings[] = {"_class", "_token", "_implementation"};

// A number under another name, and where it is read.
struct Restated {
  std::string_view key;
  double (*read)(const arch::Arch& arch, const arch::ModelDims& dims);
};
using ArchRef = const arch::Arch&;
using DimsRef = const arch::ModelDims&;
double as_number(std::int64_t n) { return static_cast<double>(n); }
double first_size(DimsRef dims, arch::Axis axis) {
  return dims.layers.empty() ? 0 : as_number(dims.layers.front()[axis]);
}
double hidden_of(ArchRef, DimsRef d) { return as_number(d.hidden); }
double layers_of(ArchRef, DimsRef d) { return as_number(d.n_layers()); }
double heads_of(ArchRef, DimsRef d) {
  return d.layers.empty() ? 0 : as_number(d.layers.front().heads());
}
double groups_of(ArchRef, DimsRef d) { return first_size(d, arch::Axis::kv_groups); }
double shared_of(ArchRef, DimsRef d) { return first_size(d, arch::Axis::q_per_kv); }
double ffn_of(ArchRef, DimsRef d) { return first_size(d, arch::Axis::ffn); }
double head_dim_of(ArchRef, DimsRef d) { return as_number(d.head_dim); }
double vocab_of(ArchRef, DimsRef d) { return as_number(d.vocab); }
double positions_of(ArchRef, DimsRef d) { return as_number(d.positions); }
// Of scaled positions. Otherwise nothing reads the number.
double original_of(ArchRef, DimsRef d) { return as_number(d.rope_scaling.original_positions); }
double theta_of(ArchRef, DimsRef d) { return d.rope_theta; }
double eps_of(ArchRef, DimsRef d) { return d.norm_eps; }
double rotated_of(ArchRef, DimsRef d) { return as_number(d.rotated()); }
double share_of(ArchRef, DimsRef d) {
  return d.head_dim > 0 ? as_number(d.rotated()) / as_number(d.head_dim) : 0;
}
constexpr Restated kRestated[] = {
    {"kv_channels", head_dim_of},
    {"attention_head_dim", head_dim_of},
    {"v_head_dim", head_dim_of},
    {"qk_head_dim", head_dim_of},
    {"head_dim", head_dim_of},
    {"head_size", head_dim_of},
    {"hidden_size", hidden_of},
    {"n_embd", hidden_of},
    {"d_model", hidden_of},
    {"hidden_dim", hidden_of},
    {"dim", hidden_of},
    {"num_hidden_layers", layers_of},
    {"n_layer", layers_of},
    {"n_layers", layers_of},
    {"num_layers", layers_of},
    {"num_attention_heads", heads_of},
    {"n_head", heads_of},
    {"n_heads", heads_of},
    {"num_heads", heads_of},
    {"num_key_value_heads", groups_of},
    {"n_kv_heads", groups_of},
    {"n_head_kv", groups_of},
    {"num_kv_heads", groups_of},
    {"num_query_groups", groups_of},
    {"multi_query_group_num", groups_of},
    {"num_key_value_groups", shared_of},
    {"intermediate_size", ffn_of},
    {"ffn_hidden_size", ffn_of},
    {"ffn_dim", ffn_of},
    {"n_inner", ffn_of},
    {"n_vocab", vocab_of},
    {"padded_vocab_size", vocab_of},
    {"vocab_size", vocab_of},
    {"n_positions", positions_of},
    {"max_position_embeddings", positions_of},
    {"original_max_position_embeddings", original_of},
    {"rope_base", theta_of},
    {"rotary_base", theta_of},
    {"rotary_emb_base", theta_of},
    {"rms_norm_eps", eps_of},
    {"norm_eps", eps_of},
    {"norm_epsilon", eps_of},
    {"layer_norm_eps", eps_of},
    {"layer_norm_epsilon", eps_of},
    {"layernorm_epsilon", eps_of},
    {"rms_norm_epsilon", eps_of},
    {"rotary_dim", rotated_of},
    {"rope_dim", rotated_of},
    {"rotary_pct", share_of},
    {"rotary_percent", share_of},
    {"rope_percent", share_of},
    {"rope_pct", share_of},
};

bool named_without_effect(const std::string& key, const nlohmann::json& value) {
  const auto ends = [&](std::string_view ending) { return key.ends_with(ending); };
  const bool limit = key.starts_with("max_") &&
                     (ends("_length") || ends("_len") || ends("_tokens") || ends("_batch_size"));
  return limit || std::find(std::begin(kNames), std::end(kNames), key) != std::end(kNames) ||
         std::any_of(std::begin(kBeginnings), std::end(kBeginnings),
                     [&](std::string_view beginning) { return key.starts_with(beginning); }) ||
         std::any_of(std::begin(kEndings), std::end(kEndings), ends) ||
         (value.is_string() &&
          std::any_of(std::begin(kStringEndings), std::end(kStringEndings), ends));
}

// A switch that says that a kind of weights is missing, and whether they are.
bool states_absence(const std::string& key, const nlohmann::json& value, const arch::Arch& arch,
                    const arch::ModelDims& dims) {
  if (value != true) return false;
  if (key != "no_bias" && key != "disable_bias" && key != "no_biases") return false;
  for (const arch::TensorRef& t : arch::tensors(arch, dims))
    if (t.is_vector && arch::weight_of(t.spec->role)) return false;
  return true;
}

// Words for what a family does anyway. Nothing for keys that hold no such word.
std::vector<std::string_view> stated_words(const std::string& key, const arch::Arch& arch) {
  if (key == "position_embedding_type") {
    if (arch::learned_positions(arch)) return {"absolute"};
    return {"rope", "rotary"};
  }
  for (const char* name : {"hidden_act", "activation", "activation_function", "hidden_activation"})
    if (key == name) {
      if (arch.activation == arch::Activation::swiglu) return {"silu", "swish", "swiglu"};
      return {arch.keys.activation_name};
    }
  return {};
}

}  // namespace

bool is_off(const nlohmann::json& value) {
  return value.is_null() || value == false || (value.is_number() && value == 0) ||
         (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         ((value.is_array() || value.is_object()) && value.empty());
}

Neutral neutral_key(const std::string& key, const nlohmann::json& value, const arch::Arch& arch,
                    const arch::ModelDims& dims) {
  for (const OtherNeutral& one : kOtherNeutral)
    if (key == one.key)
      return {.yes = value.is_null() || value == nlohmann::json::parse(one.value)};
  if (is_off(value) || named_without_effect(key, value)) return {.yes = true};
  for (const Restated& one : kRestated) {
    if (key != one.key || !value.is_number()) continue;
    if (one.read == original_of && dims.rope_scaling.factor == 1) return {.yes = true};
    const double read = one.read(arch, dims), stated = value.get<double>();
    if (std::fabs(stated - read) <= 1e-9 * std::fabs(read)) return {.yes = true};
    const bool whole = read == std::floor(read) && std::fabs(read) < 1e15;
    return {.against = whole ? std::to_string(std::llround(read)) : nlohmann::json(read).dump()};
  }
  if (states_absence(key, value, arch, dims)) return {.yes = true};
  const std::vector<std::string_view> words = stated_words(key, arch);
  if (words.empty() || !value.is_string()) return {};
  if (std::find(words.begin(), words.end(), value.get<std::string>()) != words.end())
    return {.yes = true};
  return {.against = std::string("\"").append(words.front()).append("\"")};
}

}  // namespace espalier::checkpoint
