// SPDX-License-Identifier: Apache-2.0
// Qwen2, Qwen2.5: Llama's blocks with biases of q, k and v.
//
// Source of names: Hugging Face Qwen2ForCausalLM; GGUF: general.architecture "qwen2".
#include "arch/families/block_rows.h"

namespace espalier::arch {
namespace {

// clang-format off
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,   "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_q,      "model.layers.{L}.self_attn.q_proj.weight",         Q, H},
    {Role::attn_k,      "model.layers.{L}.self_attn.k_proj.weight",         K, H},
    {Role::attn_v,      "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_q_bias, "model.layers.{L}.self_attn.q_proj.bias",           Q},
    {Role::attn_k_bias, "model.layers.{L}.self_attn.k_proj.bias",           K},
    {Role::attn_v_bias, "model.layers.{L}.self_attn.v_proj.bias",           K},
    {Role::attn_output, "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention),
    ffn_block(kDecoderFfn),
};

}  // namespace

extern const Arch k_qwen2;
constexpr Arch k_qwen2{.name = "qwen2",
                       .models = "Qwen2, 2.5",
                       .gguf = "qwen2",
                       .hf_model_type = "qwen2",
                       .hf_architecture = "Qwen2ForCausalLM",
                       .norm = Norm::rms,
                       .activation = Activation::swiglu,
                       .defaults = {.positions = 32768, .window = 4096},
                       .window_period = kOnlyListed,
                       .no_rope_period = 0,
                       .scaled_embedding = false,
                       .gguf_other_heads = "llama",
                       .gguf_70b_layers = 80,
                       .model = kDecoderModel,
                       .blocks = kBlocks};
static_assert(sound(k_qwen2));

}  // namespace espalier::arch
