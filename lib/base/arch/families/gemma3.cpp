// SPDX-License-Identifier: Apache-2.0
// Gemma 3, text: Gemma 2's blocks with an RMSNorm over each head of q and k instead of soft-caps.
// Five of six layers use a window and have their own rotary base.
//
// Source of names: Hugging Face Gemma3ForCausalLM; GGUF: general.architecture "gemma3".
#include "arch/families/gemma_shared.h"

namespace espalier::arch {
namespace {

using enum Transform;

// clang-format off
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,      "model.layers.{L}.input_layernorm.weight",            H, kVector, plus_one},
    {Role::attn_q,         "model.layers.{L}.self_attn.q_proj.weight",           Q, H},
    {Role::attn_k,         "model.layers.{L}.self_attn.k_proj.weight",           K, H},
    {Role::attn_v,         "model.layers.{L}.self_attn.v_proj.weight",           K, H},
    {Role::attn_q_norm,    "model.layers.{L}.self_attn.q_norm.weight",           D, kVector, plus_one},
    {Role::attn_k_norm,    "model.layers.{L}.self_attn.k_norm.weight",           D, kVector, plus_one},
    {Role::attn_output,    "model.layers.{L}.self_attn.o_proj.weight",           H, Q},
    {Role::attn_post_norm, "model.layers.{L}.post_attention_layernorm.weight",   H, kVector, plus_one},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention, {Role::attn_q, Role::attn_k, Role::attn_v}, Role::attn_post_norm),
    ffn_block(kGemmaFfn, {Role::ffn_gate, Role::ffn_up}, Role::ffn_post_norm),
};

}  // namespace

extern const Arch k_gemma3;
constexpr Arch k_gemma3{.name = "gemma3",
                        .models = "text",
                        .gguf = "gemma3",
                        .hf_model_type = "gemma3_text",
                        .hf_architecture = "Gemma3ForCausalLM",
                        .norm = Norm::rms_plus_one,
                        .activation = Activation::geglu,
                        .defaults = {.head_dim = 256,
                                     .positions = 131072,
                                     .window = 4096,
                                     .rope_theta = 1000000,
                                     .local_rope_theta = 10000,
                                     .query_scalar = 256,
                                     .tied = true},
                        .window_period = 6,
                        .no_rope_period = 0,
                        .scaled_embedding = true,
                        .gguf_hidden_scale_layers = 62,  // the 27B model
                        .heads_divide_hidden = true,
                        .keys = kGemmaKeys,
                        .model = kGemmaModel,
                        .blocks = kBlocks};
static_assert(sound(k_gemma3));

}  // namespace espalier::arch
