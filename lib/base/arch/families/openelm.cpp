// SPDX-License-Identifier: Apache-2.0
// OpenELM: Llama's blocks with q, k and v in one matrix and an RMSNorm over each head of q and k.
// The numbers of heads and FFN channels differ from layer to layer.
//
// Source of names: OpenELMForCausalLM, which is not in transformers and fuses gate and up in one
// matrix; GGUF: general.architecture "openelm", which stores them apart.
#include "arch/families/block_rows.h"

namespace espalier::arch {
namespace {

// clang-format off
constexpr TensorSpec kModel[] = {
    {Role::token_embd,  "transformer.token_embeddings.weight", V, H},
    {Role::output_norm, "transformer.norm.weight",             H},
    {Role::output,      "lm_head.weight",                      V, H, Transform::none, Present::untied},
};
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,   "transformer.layers.{L}.attn_norm.weight",     H},
    {Role::attn_qkv,    "transformer.layers.{L}.attn.qkv_proj.weight", QKV, H},
    {Role::attn_q_norm, "transformer.layers.{L}.attn.q_norm.weight",   D},
    {Role::attn_k_norm, "transformer.layers.{L}.attn.k_norm.weight",   D},
    {Role::attn_output, "transformer.layers.{L}.attn.out_proj.weight", H, Q},
};
constexpr TensorSpec kFfn[] = {
    {Role::ffn_norm,    "transformer.layers.{L}.ffn_norm.weight",      H},
    {Role::ffn_gate,    "transformer.layers.{L}.ffn.proj_1.weight",    F, H},
    {Role::ffn_up,      "transformer.layers.{L}.ffn.proj_1.weight",    F, H},
    {Role::ffn_down,    "transformer.layers.{L}.ffn.proj_2.weight",    H, F},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention, {Role::attn_qkv}),
    ffn_block(kFfn),
};

}  // namespace

extern const Arch k_openelm;
constexpr Arch k_openelm{.name = "openelm",
                         .models = "270M to 3B",
                         .gguf = "openelm",
                         .hf_model_type = "openelm",
                         .hf_architecture = "OpenELMForCausalLM",
                         .norm = Norm::rms,
                         .activation = Activation::swiglu,
                         .defaults = {.head_dim = 64, .tied = true},
                         .window_period = kNoWindow,
                         .no_rope_period = 0,
                         .scaled_embedding = false,
                         .gguf_output = GgufOutput::embedding,
                         .ignores_own_output = true,
                         .unequal_layers = true,
                         .keys = {.hidden = "model_dim",
                                  .sizes = {},
                                  .layers = "num_transformer_layers",
                                  .heads = "num_query_heads",
                                  .groups = "num_kv_heads",
                                  .positions = "max_context_length",
                                  .tied = "share_input_output_layers",
                                  .rope_scaling = {}},
                         .model = kModel,
                         .blocks = kBlocks};
static_assert(sound(k_openelm));

}  // namespace espalier::arch
