// SPDX-License-Identifier: Apache-2.0
// The attention of Qwen3: an RMSNorm over each head of q and k before the rotation.
#pragma once
#include "arch/families/block_rows.h"

namespace espalier::arch {

// clang-format off
inline constexpr TensorSpec kQwen3Attention[] = {
    {Role::attn_norm,        "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_q,           "model.layers.{L}.self_attn.q_proj.weight",         Q, H},
    {Role::attn_k,           "model.layers.{L}.self_attn.k_proj.weight",         K, H},
    {Role::attn_v,           "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_q_bias,      "model.layers.{L}.self_attn.q_proj.bias",           Q, kVector, Transform::none, Present::attention_bias},
    {Role::attn_k_bias,      "model.layers.{L}.self_attn.k_proj.bias",           K, kVector, Transform::none, Present::attention_bias},
    {Role::attn_v_bias,      "model.layers.{L}.self_attn.v_proj.bias",           K, kVector, Transform::none, Present::attention_bias},
    {Role::attn_q_norm,      "model.layers.{L}.self_attn.q_norm.weight",         D},
    {Role::attn_k_norm,      "model.layers.{L}.self_attn.k_norm.weight",         D},
    {Role::attn_output,      "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
    {Role::attn_output_bias, "model.layers.{L}.self_attn.o_proj.bias",           H, kVector, Transform::none, Present::output_bias},
};
// clang-format on

}  // namespace espalier::arch
