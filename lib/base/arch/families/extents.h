// SPDX-License-Identifier: Apache-2.0
// Extents that the families' tables share.
//   V vocab, H hidden, F ffn, D head_dim, P positions
//   Q all query heads, K all key (or value) heads
//   QKV, GateUp: several of these in one tensor
//   E experts, X width of one; EX, EH: stacks with the rows X or H for each expert
#pragma once
#include "arch/arch.h"

namespace espalier::arch {

inline constexpr Extent V{{{Axis::vocab}}}, H{{{Axis::hidden}}}, F{{{Axis::ffn}}},
    D{{{Axis::head_dim}}};
inline constexpr Extent Q{{{Axis::kv_groups, Axis::q_per_kv, Axis::head_dim}}};
inline constexpr Extent K{{{Axis::kv_groups, Axis::head_dim}}};
inline constexpr Extent QKV{{{Axis::kv_groups, Axis::q_per_kv, Axis::head_dim},
                             {Axis::kv_groups, Axis::head_dim},
                             {Axis::kv_groups, Axis::head_dim}}};
inline constexpr Extent GateUp{{{Axis::ffn}, {Axis::ffn}}}, P{{{Axis::positions}}};
inline constexpr Extent E{{{Axis::experts}}}, X{{{Axis::expert_ffn}}};
inline constexpr Extent EX{{{Axis::experts, Axis::expert_ffn}}},
    EH{{{Axis::experts, Axis::hidden}}};
inline constexpr Extent kVector{};  // the columns of a vector

// Model-scope tensors of every family that uses Llama's names and stores its gains unchanged.
// clang-format off
inline constexpr TensorSpec kDecoderModel[] = {
    {Role::token_embd,  "model.embed_tokens.weight", V, H},
    {Role::output_norm, "model.norm.weight",         H},
    {Role::output,      "lm_head.weight",            V, H, Transform::none, Present::untied},
};
// The FFN of those whose FFN has no biases.
inline constexpr TensorSpec kDecoderFfn[] = {
    {Role::ffn_norm, "model.layers.{L}.post_attention_layernorm.weight", H},
    {Role::ffn_gate, "model.layers.{L}.mlp.gate_proj.weight",            F, H},
    {Role::ffn_up,   "model.layers.{L}.mlp.up_proj.weight",              F, H},
    {Role::ffn_down, "model.layers.{L}.mlp.down_proj.weight",            H, F},
};
// clang-format on

}  // namespace espalier::arch
