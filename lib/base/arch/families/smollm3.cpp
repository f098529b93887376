// SPDX-License-Identifier: Apache-2.0
// SmolLM3: Llama's blocks. Every fourth layer has no rotary positions.
//
// Source of names: Hugging Face SmolLM3ForCausalLM; GGUF: general.architecture "smollm3".
#include "arch/families/extents.h"

namespace espalier::arch {
namespace {

using enum Transform;
using enum Present;

// clang-format off
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,        "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_q,           "model.layers.{L}.self_attn.q_proj.weight",         Q, H, rope_permute},
    {Role::attn_k,           "model.layers.{L}.self_attn.k_proj.weight",         K, H, rope_permute},
    {Role::attn_v,           "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_q_bias,      "model.layers.{L}.self_attn.q_proj.bias",           Q, kVector, rope_permute, attention_bias},
    {Role::attn_k_bias,      "model.layers.{L}.self_attn.k_proj.bias",           K, kVector, rope_permute, attention_bias},
    {Role::attn_v_bias,      "model.layers.{L}.self_attn.v_proj.bias",           K, kVector, none, attention_bias},
    {Role::attn_output,      "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
    {Role::attn_output_bias, "model.layers.{L}.self_attn.o_proj.bias",           H, kVector, none, output_bias},
};
constexpr TensorSpec kFfn[] = {
    {Role::ffn_norm,         "model.layers.{L}.post_attention_layernorm.weight", H},
    {Role::ffn_gate,         "model.layers.{L}.mlp.gate_proj.weight",            F, H},
    {Role::ffn_up,           "model.layers.{L}.mlp.up_proj.weight",              F, H},
    {Role::ffn_down,         "model.layers.{L}.mlp.down_proj.weight",            H, F},
    {Role::ffn_gate_bias,    "model.layers.{L}.mlp.gate_proj.bias",              F, kVector, none, mlp_bias},
    {Role::ffn_up_bias,      "model.layers.{L}.mlp.up_proj.bias",                F, kVector, none, mlp_bias},
    {Role::ffn_down_bias,    "model.layers.{L}.mlp.down_proj.bias",              H, kVector, none, mlp_bias},
};
// clang-format on

constexpr Block kBlocks[] = {
    {.kind = BlockKind::attention,
     .norm = Role::attn_norm,
     .readers = {Role::attn_q, Role::attn_k, Role::attn_v},
     .consumer = Role::attn_output,
     .axes = {Axis::kv_groups, Axis::q_per_kv},
     .tensors = kAttention},
    {.kind = BlockKind::ffn,
     .norm = Role::ffn_norm,
     .readers = {Role::ffn_gate, Role::ffn_up},
     .consumer = Role::ffn_down,
     .axes = {Axis::ffn},
     .tensors = kFfn},
};

}  // namespace

extern const Arch k_smollm3;
constexpr Arch k_smollm3{.name = "smollm3",
                         .gguf = "smollm3",
                         .hf_model_type = "smollm3",
                         .hf_architecture = "SmolLM3ForCausalLM",
                         .norm = Norm::rms,
                         .activation = Activation::swiglu,
                         .defaults = {.positions = 32768, .rope_theta = 2000000, .tied = true},
                         .window_period = kOnlyListed,
                         .no_rope_period = 4,
                         .scaled_embedding = false,
                         .model = kDecoderModel,
                         .blocks = kBlocks};
static_assert(sound(k_smollm3));

}  // namespace espalier::arch
