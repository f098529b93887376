// SPDX-License-Identifier: Apache-2.0
// Qwen3: Llama's blocks with an RMSNorm over each head of q and k before the rotation, and an
// explicit head_dim.
//
// Source of names: Hugging Face Qwen3ForCausalLM; GGUF: general.architecture "qwen3".
#include "arch/families/qwen3_blocks.h"

namespace espalier::arch {
namespace {

constexpr Block kBlocks[] = {
    attention_block(kQwen3Attention),
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
