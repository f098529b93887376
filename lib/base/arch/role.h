// SPDX-License-Identifier: Apache-2.0
// The purpose of a tensor. Its GGUF name is a function of the role alone ("{L}" = layer index).
// `ffn_up.weight` names two roles: ffn_up, or ffn_gate_up in families that fuse gate and up. No
// family has both.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::arch {

// clang-format off
// ESP_ROLE(name, GGUF name)
#define ESP_ROLES(ESP_ROLE)                                \
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
  ESP_ROLE(attn_q_bias,      "blk.{L}.attn_q.bias")        \
  ESP_ROLE(attn_k_bias,      "blk.{L}.attn_k.bias")        \
  ESP_ROLE(attn_v_bias,      "blk.{L}.attn_v.bias")        \
  ESP_ROLE(attn_qkv_bias,    "blk.{L}.attn_qkv.bias")      \
  ESP_ROLE(attn_output_bias, "blk.{L}.attn_output.bias")   \
  ESP_ROLE(ffn_gate_bias,    "blk.{L}.ffn_gate.bias")      \
  ESP_ROLE(ffn_up_bias,      "blk.{L}.ffn_up.bias")        \
  ESP_ROLE(ffn_down_bias,    "blk.{L}.ffn_down.bias")      \
  ESP_ROLE(attn_q_norm,      "blk.{L}.attn_q_norm.weight") \
  ESP_ROLE(attn_k_norm,      "blk.{L}.attn_k_norm.weight") \
  ESP_ROLE(attn_post_norm,   "blk.{L}.post_attention_norm.weight") \
  ESP_ROLE(ffn_post_norm,    "blk.{L}.post_ffw_norm.weight") \
  ESP_ROLE(output_norm_bias, "output_norm.bias")           \
  ESP_ROLE(attn_norm_bias,   "blk.{L}.attn_norm.bias")     \
  ESP_ROLE(ffn_norm_bias,    "blk.{L}.ffn_norm.bias")
// clang-format on

enum class Role : std::uint8_t {
#define ESP_ROLE(name, gguf) name,
  ESP_ROLES(ESP_ROLE)
#undef ESP_ROLE
      count_
};
inline constexpr int kRoles = static_cast<int>(Role::count_);

std::string_view role_name(Role role);  // "attn_q"
// False for other vectors, which are gains of norms.
bool is_bias(Role role);
// The bias that belongs to a LayerNorm's gain. Error(internal) when `gain` has none.
Role norm_bias(Role gain);
std::optional<Role> role_by_name(std::string_view name);
std::string gguf_name(Role role, int layer);  // layer is ignored by model-scope roles
// Replaces "{L}" in a pattern.
std::string with_layer(std::string_view pattern, int layer);

}  // namespace espalier::arch
