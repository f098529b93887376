// SPDX-License-Identifier: Apache-2.0
// Nemotron and models pruned from it (Minitron-4B and 8B): LayerNorm with bias and a gain stored
// minus one, squared ReLU without a gate. Half of a head is rotated by position.
//
// Source of names: Hugging Face NemotronForCausalLM; GGUF: general.architecture "nemotron".
#include "arch/families/block_rows.h"

namespace espalier::arch {
namespace {

using enum Transform;
using enum Present;

// clang-format off
constexpr TensorSpec kModel[] = {
    {Role::token_embd,       "model.embed_tokens.weight", V, H},
    {Role::output_norm,      "model.norm.weight",         H, kVector, plus_one},
    {Role::output_norm_bias, "model.norm.bias",           H},
    {Role::output,           "lm_head.weight",            V, H, none, untied},
};
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,        "model.layers.{L}.input_layernorm.weight",          H, kVector, plus_one},
    {Role::attn_norm_bias,   "model.layers.{L}.input_layernorm.bias",            H},
    {Role::attn_q,           "model.layers.{L}.self_attn.q_proj.weight",         Q, H},
    {Role::attn_k,           "model.layers.{L}.self_attn.k_proj.weight",         K, H},
    {Role::attn_v,           "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_q_bias,      "model.layers.{L}.self_attn.q_proj.bias",           Q, kVector, none, attention_bias},
    {Role::attn_k_bias,      "model.layers.{L}.self_attn.k_proj.bias",           K, kVector, none, attention_bias},
    {Role::attn_v_bias,      "model.layers.{L}.self_attn.v_proj.bias",           K, kVector, none, attention_bias},
    {Role::attn_output,      "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
    {Role::attn_output_bias, "model.layers.{L}.self_attn.o_proj.bias",           H, kVector, none, output_bias},
};
constexpr TensorSpec kFfn[] = {
    {Role::ffn_norm,         "model.layers.{L}.post_attention_layernorm.weight", H, kVector, plus_one},
    {Role::ffn_norm_bias,    "model.layers.{L}.post_attention_layernorm.bias",   H},
    {Role::ffn_up,           "model.layers.{L}.mlp.up_proj.weight",              F, H},
    {Role::ffn_up_bias,      "model.layers.{L}.mlp.up_proj.bias",                F, kVector, none, mlp_bias},
    {Role::ffn_down,         "model.layers.{L}.mlp.down_proj.weight",            H, F},
    {Role::ffn_down_bias,    "model.layers.{L}.mlp.down_proj.bias",              H, kVector, none, mlp_bias},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention),
    ffn_block(kFfn, {Role::ffn_up}),
};

}  // namespace

extern const Arch k_nemotron;
constexpr Arch k_nemotron{.name = "nemotron",
                          .models = "Minitron",
                          .gguf = "nemotron",
                          .hf_model_type = "nemotron",
                          .hf_architecture = "NemotronForCausalLM",
                          .norm = Norm::layer_plus_one,
                          .activation = Activation::relu_squared,
                          .defaults = {.positions = 4096, .norm_eps = 1e-5, .partial_rotary = 0.5},
                          .window_period = kNoWindow,
                          .no_rope_period = 0,
                          .scaled_embedding = false,
                          .heads_fill_hidden = true,
                          .gguf_biases = true,
                          .gguf_output = GgufOutput::own,
                          .keys = {.norm_eps = "norm_eps", .activation_name = "relu2"},
                          .model = kModel,
                          .blocks = kBlocks};
static_assert(sound(k_nemotron));

}  // namespace espalier::arch
