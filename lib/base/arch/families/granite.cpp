// SPDX-License-Identifier: Apache-2.0
// Granite, dense: Llama's blocks and four factors. Embeddings, attention scores and what each block
// adds to the stream are multiplied, and logits are divided.
//
// Source of names: Hugging Face GraniteForCausalLM; GGUF: general.architecture "granite".
#include "arch/families/llama_blocks.h"

namespace espalier::arch {

extern const Arch k_granite;
constexpr Arch k_granite{.name = "granite",
                         .models = "3.0 to 4.1, dense",
                         .gguf = "granite",
                         .hf_model_type = "granite",
                         .hf_architecture = "GraniteForCausalLM",
                         .norm = Norm::rms,
                         .activation = Activation::swiglu,
                         .defaults = {},
                         .window_period = kNoWindow,
                         .no_rope_period = 0,
                         .scaled_embedding = false,
                         .gguf_biases = true,
                         .gguf_rope_freqs = true,
                         .gguf_rope_switch = true,
                         .keys = {.embedding_factor = "embedding_multiplier",
                                  .attention_factor = "attention_multiplier",
                                  .residual_factor = "residual_multiplier",
                                  .logit_divisor = "logits_scaling"},
                         .model = kDecoderModel,
                         .blocks = kLlamaBlocks};
static_assert(sound(k_granite));

}  // namespace espalier::arch
