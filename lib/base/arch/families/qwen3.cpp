// SPDX-License-Identifier: Apache-2.0
// Qwen3: Llama's blocks with an RMSNorm over each head of q and k before the rotation, and an
// explicit head_dim.
//
// Source of names: Hugging Face Qwen3ForCausalLM; GGUF: general.architecture "qwen3".
#include "arch/families/block_rows.h"

namespace espalier::arch {
namespace {

using enum Transform;
using enum Present;

// clang-format off
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,        "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_q,           "model.layers.{L}.self_attn.q_proj.weight",         Q, H},
    {Role::attn_k,           "model.layers.{L}.self_attn.k_proj.weight",         K, H},
    {Role::attn_v,           "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_q_bias,      "model.layers.{L}.self_attn.q_proj.bias",           Q, kVector, none, attention_bias},
    {Role::attn_k_bias,      "model.layers.{L}.self_attn.k_proj.bias",           K, kVector, none, attention_bias},
    {Role::attn_v_bias,      "model.layers.{L}.self_attn.v_proj.bias",           K, kVector, none, attention_bias},
    {Role::attn_q_norm,      "model.layers.{L}.self_attn.q_norm.weight",         D},
    {Role::attn_k_norm,      "model.layers.{L}.self_attn.k_norm.weight",         D},
    {Role::attn_output,      "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
    {Role::attn_output_bias, "model.layers.{L}.self_attn.o_proj.bias",           H, kVector, none, output_bias},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention),
    ffn_block(kDecoderFfn),
};

}  // namespace

extern const Arch k_qwen3;
constexpr Arch k_qwen3{.name = "qwen3",
                       .gguf = "qwen3",
                       .hf_model_type = "qwen3",
                       .hf_architecture = "Qwen3ForCausalLM",
                       .norm = Norm::rms,
                       .activation = Activation::swiglu,
                       .defaults = {.head_dim = 128, .positions = 32768, .window = 4096},
                       .window_period = kOnlyListed,
                       .no_rope_period = 0,
                       .scaled_embedding = false,
                       .model = kDecoderModel,
                       .blocks = kBlocks};
static_assert(sound(k_qwen3));

}  // namespace espalier::arch
