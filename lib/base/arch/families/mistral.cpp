// SPDX-License-Identifier: Apache-2.0
// Mistral 7B, Mistral-NeMo and models pruned from them (Minitron-8B): Llama's blocks with an
// explicit head_dim. In v0.1, attention uses a window in every layer.
//
// Source of names: Hugging Face MistralForCausalLM; GGUF: general.architecture "llama", which has
// no windows.
#include "arch/families/block_rows.h"

namespace espalier::arch {
namespace {

using enum Transform;

// clang-format off
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,   "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_q,      "model.layers.{L}.self_attn.q_proj.weight",         Q, H, rope_permute},
    {Role::attn_k,      "model.layers.{L}.self_attn.k_proj.weight",         K, H, rope_permute},
    {Role::attn_v,      "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_output, "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention),
    ffn_block(kDecoderFfn),
};

}  // namespace

extern const Arch k_mistral;
constexpr Arch k_mistral{.name = "mistral",
                         .models = "7B, NeMo, Minitron-8B",
                         .gguf = "llama",
                         .hf_model_type = "mistral",
                         .hf_architecture = "MistralForCausalLM",
                         .norm = Norm::rms,
                         .activation = Activation::swiglu,
                         .defaults = {.positions = 131072, .window = 4096},
                         .window_period = kEveryLayer,
                         .no_rope_period = 0,
                         .scaled_embedding = false,
                         .model = kDecoderModel,
                         .blocks = kBlocks};
static_assert(sound(k_mistral));

}  // namespace espalier::arch
