// SPDX-License-Identifier: Apache-2.0
// Granite 4.0 whose layers all have attention and one dense MLP (Micro, 1B and 350M, without "H" in
// their names): Granite's blocks, with gate and up in one tensor. Such models are written as
// granite, which computes the same. Mamba layers, experts and layers without positions are refused.
//
// Source of names: Hugging Face GraniteMoeHybridForCausalLM; GGUF: general.architecture "granite".
#include "arch/families/llama_blocks.h"

namespace espalier::arch {
namespace {

// clang-format off
constexpr TensorSpec kFfn[] = {
    {Role::ffn_norm,         "model.layers.{L}.post_attention_layernorm.weight",  H},
    {Role::ffn_gate,         "model.layers.{L}.shared_mlp.input_linear.weight",   F, H},
    {Role::ffn_up,           "model.layers.{L}.shared_mlp.input_linear.weight",   F, H},
    {Role::ffn_down,         "model.layers.{L}.shared_mlp.output_linear.weight",  H, F},
};
constexpr ConfigValue kConfig[] = {
    {"num_local_experts", "0", true},
    {"position_embedding_type", "\"rope\"", true},
    // Of experts, their router, Mamba layers and training.
    {"intermediate_size"}, {"num_experts_per_tok"}, {"output_router_logits"}, {"router_aux_loss_coef"},
    {"mamba_chunk_size"}, {"mamba_conv_bias"}, {"mamba_d_conv"}, {"mamba_d_head"}, {"mamba_d_state"},
    {"mamba_expand"}, {"mamba_n_groups"}, {"mamba_n_heads"}, {"mamba_proj_bias"}, {"time_step_limit"},
    {"normalization_function"}, {"init_method"},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kLlamaAttention),
    ffn_block(kFfn),
};

}  // namespace

extern const Arch k_granitemoehybrid;
constexpr Arch k_granitemoehybrid{.name = "granitemoehybrid",
                                  .models = "Granite 4.0 Micro, 1B, 350M: dense, without Mamba",
                                  .gguf = "granite",
                                  .hf_model_type = "granitemoehybrid",
                                  .hf_architecture = "GraniteMoeHybridForCausalLM",
                                  .norm = Norm::rms,
                                  .activation = Activation::swiglu,
                                  .defaults = {},
                                  .window_period = kNoWindow,
                                  .no_rope_period = 0,
                                  .scaled_embedding = false,
                                  .keys = {.sizes = {{Axis::ffn, "shared_intermediate_size"}},
                                           .embedding_factor = "embedding_multiplier",
                                           .attention_factor = "attention_multiplier",
                                           .residual_factor = "residual_multiplier",
                                           .logit_divisor = "logits_scaling"},
                                  .config = kConfig,
                                  .attention_type = "attention",
                                  .written_as = "granite",
                                  .model = kDecoderModel,
                                  .blocks = kBlocks};
static_assert(sound(k_granitemoehybrid));

}  // namespace espalier::arch
