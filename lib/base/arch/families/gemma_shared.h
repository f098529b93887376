// SPDX-License-Identifier: Apache-2.0
// What Gemma 2 and 3 share: keys of config.json that Llama has not, tensors of the model and the
// FFN.
#pragma once
#include "arch/families/block_rows.h"

namespace espalier::arch {

inline constexpr ConfigKeys kGemmaKeys{.activation = "hidden_activation",
                                       .activation_name = "gelu_pytorch_tanh",
                                       .other_activation = "hidden_act",
                                       .attention_softcap = "attn_logit_softcapping",
                                       .logit_softcap = "final_logit_softcapping",
                                       .query_scalar = "query_pre_attn_scalar"};

// clang-format off
inline constexpr TensorSpec kGemmaModel[] = {
    {Role::token_embd,  "model.embed_tokens.weight", V, H},
    {Role::output_norm, "model.norm.weight",         H, kVector, Transform::plus_one},
    {Role::output,      "lm_head.weight",            V, H, Transform::none, Present::untied},
};
inline constexpr TensorSpec kGemmaFfn[] = {
    {Role::ffn_norm,       "model.layers.{L}.pre_feedforward_layernorm.weight",  H, kVector, Transform::plus_one},
    {Role::ffn_gate,       "model.layers.{L}.mlp.gate_proj.weight",              F, H},
    {Role::ffn_up,         "model.layers.{L}.mlp.up_proj.weight",                F, H},
    {Role::ffn_down,       "model.layers.{L}.mlp.down_proj.weight",              H, F},
    {Role::ffn_post_norm,  "model.layers.{L}.post_feedforward_layernorm.weight", H, kVector, Transform::plus_one},
};
// clang-format on

}  // namespace espalier::arch
