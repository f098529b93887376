// SPDX-License-Identifier: Apache-2.0
// DeciLM, and the models that neural architecture search made of Llama (Nemotron 51B, 49B, 253B).
// The blocks are Llama's. Their sizes differ from layer to layer, and some layers lack attention or
// FFN. A Llama with unequally pruned layers is written as this family.
//
// Source of names: DeciLMForCausalLM, which is not in transformers; GGUF: general.architecture
// "deci".
#include "arch/families/llama_blocks.h"

namespace espalier::arch {

extern const Arch k_deci;
constexpr Arch k_deci{
    .name = "deci",
    .models =
        "DeciLM, Nemotron 49B, 51B, 253B: layers of unequal size, some without attention or FFN",
    .gguf = "deci",
    .hf_model_type = "nemotron-nas",
    .hf_architecture = "DeciLMForCausalLM",
    .norm = Norm::rms,
    .activation = Activation::swiglu,
    .defaults = {},
    .window_period = kNoWindow,
    .no_rope_period = 0,
    .scaled_embedding = false,
    .gguf_biases = true,
    .gguf_rope_freqs = true,
    .unequal_layers = true,
    .absent_blocks = true,
    .other_model_type = "deci",
    .model = kDecoderModel,
    .blocks = kLlamaBlocks};
static_assert(sound(k_deci));

}  // namespace espalier::arch
