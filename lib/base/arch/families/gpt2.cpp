// SPDX-License-Identifier: Apache-2.0
// GPT-2 (124M to 1.5B): LayerNorm and biases everywhere, a learned table of positions, q, k and v
// in one matrix, GELU without a gate. Matrices are stored columns first.
//
// Source of names: Hugging Face GPT2LMHeadModel; GGUF: general.architecture "gpt2".
#include "arch/families/block_rows.h"

namespace espalier::arch {
namespace {

using enum Transform;
using enum Present;

// clang-format off
constexpr TensorSpec kModel[] = {
    {Role::token_embd,       "transformer.wte.weight",  V, H},
    {Role::pos_embd,         "transformer.wpe.weight",  P, H},
    {Role::output_norm,      "transformer.ln_f.weight", H},
    {Role::output_norm_bias, "transformer.ln_f.bias",   H},
    {Role::output,           "lm_head.weight",          V, H, none, untied},
};
constexpr TensorSpec kAttention[] = {
    {Role::attn_norm,        "transformer.h.{L}.ln_1.weight",        H},
    {Role::attn_norm_bias,   "transformer.h.{L}.ln_1.bias",          H},
    {Role::attn_qkv,         "transformer.h.{L}.attn.c_attn.weight", QKV, H, transpose},
    {Role::attn_qkv_bias,    "transformer.h.{L}.attn.c_attn.bias",   QKV},
    {Role::attn_output,      "transformer.h.{L}.attn.c_proj.weight", H, Q, transpose},
    {Role::attn_output_bias, "transformer.h.{L}.attn.c_proj.bias",   H},
};
constexpr TensorSpec kFfn[] = {
    {Role::ffn_norm,         "transformer.h.{L}.ln_2.weight",        H},
    {Role::ffn_norm_bias,    "transformer.h.{L}.ln_2.bias",          H},
    {Role::ffn_up,           "transformer.h.{L}.mlp.c_fc.weight",    F, H, transpose},
    {Role::ffn_up_bias,      "transformer.h.{L}.mlp.c_fc.bias",      F},
    {Role::ffn_down,         "transformer.h.{L}.mlp.c_proj.weight",  H, F, transpose},
    {Role::ffn_down_bias,    "transformer.h.{L}.mlp.c_proj.bias",    H},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kAttention, {Role::attn_qkv}),
    ffn_block(kFfn, {Role::ffn_up}),
};

// Masks, which old versions of transformers saved.
constexpr std::string_view kIgnored[] = {"transformer.h.{L}.attn.bias",
                                         "transformer.h.{L}.attn.masked_bias"};
constexpr ConfigValue kConfig[] = {{"scale_attn_weights", "true"},
                                   {"scale_attn_by_inverse_layer_idx", "false"}};

}  // namespace

extern const Arch k_gpt2;
constexpr Arch k_gpt2{
    .name = "gpt2",
    .models = "124M to 1.5B",
    .gguf = "gpt2",
    .hf_model_type = "gpt2",
    .hf_architecture = "GPT2LMHeadModel",
    .norm = Norm::layer,
    .activation = Activation::gelu,
    .defaults = {.ffn_per_hidden = 4, .positions = 1024, .norm_eps = 1e-5, .tied = true},
    .window_period = kNoWindow,
    .no_rope_period = 0,
    .scaled_embedding = false,
    .heads_fill_hidden = true,
    .keys = {.hidden = "n_embd",
             .sizes = {{Axis::ffn, "n_inner"}},
             .layers = "n_layer",
             .heads = "n_head",
             .groups = {},
             .head_dim = {},
             .positions = "n_positions",
             .norm_eps = "layer_norm_epsilon",
             .other_positions = "n_ctx",
             .activation = "activation_function",
             .activation_name = "gelu_new"},
    .config = kConfig,
    .ignored = kIgnored,
    .model = kModel,
    .blocks = kBlocks};
static_assert(sound(k_gpt2));

}  // namespace espalier::arch
