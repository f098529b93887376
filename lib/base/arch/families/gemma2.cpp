// SPDX-License-Identifier: Apache-2.0
// Gemma 2: RMSNorm (gain 1 + weight) before and after each block, GELU gate, and embeddings times
// sqrt(hidden). Every other layer uses a window. Attention scores and logits are soft-capped.
//
// Source of names: Hugging Face Gemma2ForCausalLM; GGUF: general.architecture "gemma2".
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
    {Role::attn_output,    "model.layers.{L}.self_attn.o_proj.weight",           H, Q},
    {Role::attn_post_norm, "model.layers.{L}.post_attention_layernorm.weight",   H, kVector, plus_one},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention, {Role::attn_q, Role::attn_k, Role::attn_v}, Role::attn_post_norm),
    ffn_block(kGemmaFfn, {Role::ffn_gate, Role::ffn_up}, Role::ffn_post_norm),
};

}  // namespace

extern const Arch k_gemma2;
constexpr Arch k_gemma2{.name = "gemma2",
                        .gguf = "gemma2",
                        .hf_model_type = "gemma2",
                        .hf_architecture = "Gemma2ForCausalLM",
                        .norm = Norm::rms_plus_one,
                        .activation = Activation::geglu,
                        .defaults = {.head_dim = 256,
                                     .positions = 8192,
                                     .window = 4096,
                                     .attention_softcap = 50,
                                     .logit_softcap = 30,
                                     .query_scalar = 256,
                                     .tied = true},
                        .window_period = 2,
                        .no_rope_period = 0,
                        .scaled_embedding = true,
                        .gguf_output = GgufOutput::embedding,
                        .gguf_hidden_scale_layers = 46,  // the 27B model
                        .heads_divide_hidden = true,
                        .keys = kGemmaKeys,
                        .model = kGemmaModel,
                        .blocks = kBlocks};
static_assert(sound(k_gemma2));

}  // namespace espalier::arch
