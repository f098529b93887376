// SPDX-License-Identifier: Apache-2.0
// Llama's blocks with all the biases that they may have. The family `deci`, whose layers differ in
// size, shares them.
#pragma once
#include "arch/families/block_rows.h"

namespace espalier::arch {

// clang-format off
inline constexpr TensorSpec kLlamaAttention[] = {
    {Role::attn_norm,        "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_q,           "model.layers.{L}.self_attn.q_proj.weight",         Q, H, Transform::rope_permute},
    {Role::attn_k,           "model.layers.{L}.self_attn.k_proj.weight",         K, H, Transform::rope_permute},
    {Role::attn_v,           "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_q_bias,      "model.layers.{L}.self_attn.q_proj.bias",           Q, kVector, Transform::rope_permute, Present::attention_bias},
    {Role::attn_k_bias,      "model.layers.{L}.self_attn.k_proj.bias",           K, kVector, Transform::rope_permute, Present::attention_bias},
    {Role::attn_v_bias,      "model.layers.{L}.self_attn.v_proj.bias",           K, kVector, Transform::none, Present::attention_bias},
    {Role::attn_output,      "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
    {Role::attn_output_bias, "model.layers.{L}.self_attn.o_proj.bias",           H, kVector, Transform::none, Present::output_bias},
};
inline constexpr TensorSpec kLlamaFfn[] = {
    {Role::ffn_norm,         "model.layers.{L}.post_attention_layernorm.weight", H},
    {Role::ffn_gate,         "model.layers.{L}.mlp.gate_proj.weight",            F, H},
    {Role::ffn_up,           "model.layers.{L}.mlp.up_proj.weight",              F, H},
    {Role::ffn_down,         "model.layers.{L}.mlp.down_proj.weight",            H, F},
    {Role::ffn_gate_bias,    "model.layers.{L}.mlp.gate_proj.bias",              F, kVector, Transform::none, Present::mlp_bias},
    {Role::ffn_up_bias,      "model.layers.{L}.mlp.up_proj.bias",                F, kVector, Transform::none, Present::mlp_bias},
    {Role::ffn_down_bias,    "model.layers.{L}.mlp.down_proj.bias",              H, kVector, Transform::none, Present::mlp_bias},
};
// clang-format on

inline constexpr Block kLlamaBlocks[] = {
    attention_block(kLlamaAttention),
    ffn_block(kLlamaFfn),
};

}  // namespace espalier::arch
