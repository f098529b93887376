// SPDX-License-Identifier: Apache-2.0
// Phi-3, Phi-3.5 and Phi-4-mini: Llama's blocks with q, k and v in one matrix, gate and up in
// another, and LongRoPE. In Phi-4-mini three quarters of a head are rotated by position.
//
// Source of names: Hugging Face Phi3ForCausalLM; GGUF: general.architecture "phi3", whose readers
// compute no windows.
#include "arch/families/block_rows.h"

namespace espalier::arch {
namespace {

// clang-format off
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,   "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_qkv,    "model.layers.{L}.self_attn.qkv_proj.weight",       QKV, H},
    {Role::attn_output, "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
};
constexpr TensorSpec kFfn[] = {
    {Role::ffn_norm,    "model.layers.{L}.post_attention_layernorm.weight", H},
    {Role::ffn_gate_up, "model.layers.{L}.mlp.gate_up_proj.weight",         GateUp, H},
    {Role::ffn_down,    "model.layers.{L}.mlp.down_proj.weight",            H, F},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention, {Role::attn_qkv}),
    ffn_block(kFfn, {Role::ffn_gate_up}),
};

}  // namespace

extern const Arch k_phi3;
constexpr Arch k_phi3{.name = "phi3",
                      .models = "Phi-3, 3.5-mini, Phi-4-mini",
                      .gguf = "phi3",
                      .hf_model_type = "phi3",
                      .hf_architecture = "Phi3ForCausalLM",
                      .norm = Norm::rms,
                      .activation = Activation::swiglu,
                      .defaults = {.positions = 4096, .norm_eps = 1e-5, .partial_rotary = 1},
                      .window_period = kEveryLayer,
                      .no_rope_period = 0,
                      .scaled_embedding = false,
                      .heads_fill_hidden = true,
                      .default_token_ids = true,
                      .long_rope = true,
                      .model = kDecoderModel,
                      .blocks = kBlocks};
static_assert(sound(k_phi3));

}  // namespace espalier::arch
