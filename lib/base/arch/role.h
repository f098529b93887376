// SPDX-License-Identifier: Apache-2.0
// The purpose of a tensor. Its GGUF name is a function of the role alone ("{L}" = layer index).
// `ffn_up.weight` names two roles: ffn_up, or ffn_gate_up in families that fuse gate and up. No
// family has both.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::arch {

// clang-format off
// ESP_ROLE(name, GGUF name); ESP_BIAS(weight, GGUF name): the bias of a matrix, or of the gain of a
// LayerNorm, is the role <weight>_bias
#define ESP_ROLES(ESP_ROLE, ESP_BIAS)                      \
  ESP_ROLE(token_embd,   "token_embd.weight")              \
  ESP_ROLE(output_norm,  "output_norm.weight")             \
  ESP_ROLE(output,       "output.weight")                  \
  ESP_ROLE(rope_freqs,   "rope_freqs.weight")              \
  ESP_ROLE(rope_factors_long,  "rope_factors_long.weight") \
  ESP_ROLE(rope_factors_short, "rope_factors_short.weight") \
  ESP_ROLE(pos_embd,     "position_embd.weight")           \
  ESP_ROLE(attn_norm,    "blk.{L}.attn_norm.weight")       \
  ESP_ROLE(attn_q,       "blk.{L}.attn_q.weight")          \
  ESP_ROLE(attn_k,       "blk.{L}.attn_k.weight")          \
  ESP_ROLE(attn_v,       "blk.{L}.attn_v.weight")          \
  ESP_ROLE(attn_qkv,     "blk.{L}.attn_qkv.weight")        \
  ESP_ROLE(attn_output,  "blk.{L}.attn_output.weight")     \
  ESP_ROLE(ffn_norm,     "blk.{L}.ffn_norm.weight")        \
  ESP_ROLE(ffn_gate,     "blk.{L}.ffn_gate.weight")        \
  ESP_ROLE(ffn_up,       "blk.{L}.ffn_up.weight")          \
  ESP_ROLE(ffn_gate_up,  "blk.{L}.ffn_up.weight")          \
  ESP_ROLE(ffn_down,     "blk.{L}.ffn_down.weight")        \
  ESP_BIAS(attn_q,       "blk.{L}.attn_q.bias")             \
  ESP_BIAS(attn_k,       "blk.{L}.attn_k.bias")             \
  ESP_BIAS(attn_v,       "blk.{L}.attn_v.bias")             \
  ESP_BIAS(attn_qkv,     "blk.{L}.attn_qkv.bias")           \
  ESP_BIAS(attn_output,  "blk.{L}.attn_output.bias")        \
  ESP_BIAS(ffn_gate,     "blk.{L}.ffn_gate.bias")           \
  ESP_BIAS(ffn_up,       "blk.{L}.ffn_up.bias")             \
  ESP_BIAS(ffn_down,     "blk.{L}.ffn_down.bias")           \
  ESP_ROLE(attn_q_norm,      "blk.{L}.attn_q_norm.weight") \
  ESP_ROLE(attn_k_norm,      "blk.{L}.attn_k_norm.weight") \
  ESP_ROLE(attn_post_norm,   "blk.{L}.post_attention_norm.weight") \
  ESP_ROLE(ffn_post_norm,    "blk.{L}.post_ffw_norm.weight") \
  ESP_BIAS(output_norm,  "output_norm.bias")                \
  ESP_BIAS(attn_norm,    "blk.{L}.attn_norm.bias")          \
  ESP_BIAS(ffn_norm,     "blk.{L}.ffn_norm.bias")           \
  ESP_ROLE(ffn_gate_inp,     "blk.{L}.ffn_gate_inp.weight") /* the router */ \
  ESP_ROLE(ffn_gate_exps,    "blk.{L}.ffn_gate_exps.weight") \
  ESP_ROLE(ffn_up_exps,      "blk.{L}.ffn_up_exps.weight")  \
  ESP_ROLE(ffn_down_exps,    "blk.{L}.ffn_down_exps.weight")
// clang-format on

enum class Role : std::uint8_t {
#define ESP_ROLE(name, gguf) name,
#define ESP_BIAS(weight, gguf) weight##_bias,
  ESP_ROLES(ESP_ROLE, ESP_BIAS)
#undef ESP_ROLE
#undef ESP_BIAS
      count_
};
inline constexpr int kRoles = static_cast<int>(Role::count_);

std::string_view role_name(Role role);  // "attn_q"
// The matrix or gain that a bias belongs to. Nothing for other roles.
constexpr std::optional<Role> weight_of(Role bias) {
  switch (bias) {
#define ESP_ROLE(name, gguf)
#define ESP_BIAS(weight, gguf) \
  case Role::weight##_bias:    \
    return Role::weight;
    ESP_ROLES(ESP_ROLE, ESP_BIAS)
#undef ESP_ROLE
#undef ESP_BIAS
    default:
      return std::nullopt;
  }
}
// The inverse. Nothing for roles that no family gives a bias.
inline constexpr auto kBiases = [] {
  std::array<std::optional<Role>, kRoles> out{};
  for (int i = 0; i < kRoles; ++i)
    if (const auto weight = weight_of(static_cast<Role>(i)))
      out[static_cast<std::size_t>(*weight)] = static_cast<Role>(i);
  return out;
}();
constexpr std::optional<Role> bias_of(Role weight) {
  return kBiases[static_cast<std::size_t>(weight)];
}
std::optional<Role> role_by_name(std::string_view name);
std::string gguf_name(Role role, int layer);  // layer is ignored by model-scope roles
// Replaces "{L}" in a pattern.
std::string with_layer(std::string_view pattern, int layer);
// Replaces "{L}" and "{E}".
std::string with_indices(std::string_view pattern, int layer, std::int64_t matrix);

}  // namespace espalier::arch
