// SPDX-License-Identifier: Apache-2.0
// Llama 1/2/3, SmolLM2, TinyLlama: RMSNorm before each block, SwiGLU, full rotary position
// embedding, grouped-query attention.
//
// Source of names: Hugging Face LlamaForCausalLM; GGUF: general.architecture "llama".
#include "arch/families/llama_blocks.h"

namespace espalier::arch {

namespace {

constexpr std::string_view kStandIns[] = {"qwen2", "mistral"};

}  // namespace

extern const Arch k_llama;
constexpr Arch k_llama{.name = "llama",
                       .models = "Llama 1 to 3.2, SmolLM2, TinyLlama",
                       .gguf = "llama",
                       .hf_model_type = "llama",
                       .hf_architecture = "LlamaForCausalLM",
                       .norm = Norm::rms,
                       .activation = Activation::swiglu,
                       .defaults = {},
                       .window_period = kNoWindow,
                       .no_rope_period = 0,
                       .scaled_embedding = false,
                       .gguf_biases = true,
                       .gguf_rope_freqs = true,
                       .gguf_70b_layers = 80,
                       .gguf_70b_grouped = true,
                       .heads_divide_hidden = true,
                       .stand_ins = kStandIns,
                       .model = kDecoderModel,
                       .blocks = kLlamaBlocks};
static_assert(sound(k_llama));

}  // namespace espalier::arch
