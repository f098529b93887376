// SPDX-License-Identifier: Apache-2.0
// Qwen3 with experts (Qwen3-30B-A3B, Qwen3-235B-A22B): the attention of Qwen3, and experts in place
// of the FFN, in every layer or in some. A router gives weights by softmax, and those of the chosen
// experts are divided by their sum. Windows are refused, and so is a router that does not divide,
// which stock readers of GGUF cannot express.
//
// Source of names: Hugging Face Qwen3MoeForCausalLM; GGUF: general.architecture "qwen3moe".
#include "arch/families/qwen3_blocks.h"

namespace espalier::arch {
namespace {

using enum Transform;
using enum Present;

// clang-format off
constexpr TensorSpec kExperts[] = {
    {Role::ffn_norm,      "model.layers.{L}.post_attention_layernorm.weight",  H},
    {Role::ffn_gate_inp,  "model.layers.{L}.mlp.gate.weight",                  E, H},
    {Role::ffn_gate_exps, "model.layers.{L}.mlp.experts.{E}.gate_proj.weight", EX, H, none, always, "model.layers.{L}.mlp.experts.gate_up_proj"},
    {Role::ffn_up_exps,   "model.layers.{L}.mlp.experts.{E}.up_proj.weight",   EX, H, none, always, "model.layers.{L}.mlp.experts.gate_up_proj"},
    {Role::ffn_down_exps, "model.layers.{L}.mlp.experts.{E}.down_proj.weight", EH, X, none, always, "model.layers.{L}.mlp.experts.down_proj"},
};
constexpr ConfigValue kConfig[] = {
    {"norm_topk_prob", "true", true},
    // Of windows, which the family has not, and of training.
    {"max_window_layers"}, {"output_router_logits"}, {"router_aux_loss_coef"},
};
// clang-format on

constexpr Block kBlocks[] = {
    attention_block(kQwen3Attention),
    experts_block(kExperts),
    ffn_block(kDecoderFfn),
};

}  // namespace

extern const Arch k_qwen3moe;
constexpr Arch k_qwen3moe{.name = "qwen3moe",
                          .models = "Qwen3-30B-A3B, 235B-A22B",
                          .gguf = "qwen3moe",
                          .hf_model_type = "qwen3_moe",
                          .hf_architecture = "Qwen3MoeForCausalLM",
                          .norm = Norm::rms,
                          .activation = Activation::swiglu,
                          .defaults = {.positions = 32768},
                          .window_period = kNoWindow,
                          .no_rope_period = 0,
                          .scaled_embedding = false,
                          .keys = {.sizes = {{Axis::ffn, "intermediate_size"},
                                             {Axis::experts, "num_experts"},
                                             {Axis::expert_ffn, "moe_intermediate_size"},
                                             {Axis::experts_per_token, "num_experts_per_tok"}},
                                   .other_sizes = {{Axis::experts, "num_local_experts"}},
                                   .dense_layers = "mlp_only_layers",
                                   .sparse_step = "decoder_sparse_step"},
                          .config = kConfig,
                          .model = kDecoderModel,
                          .blocks = kBlocks};
static_assert(sound(k_qwen3moe));

}  // namespace espalier::arch
