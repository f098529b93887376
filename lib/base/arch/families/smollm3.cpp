// SPDX-License-Identifier: Apache-2.0
// SmolLM3: Llama's blocks. Every fourth layer has no rotary positions.
//
// Source of names: Hugging Face SmolLM3ForCausalLM; GGUF: general.architecture "smollm3".
#include "arch/families/llama_blocks.h"

namespace espalier::arch {

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
                         .default_token_ids = true,
                         .model = kDecoderModel,
                         .blocks = kLlamaBlocks};
static_assert(sound(k_smollm3));

}  // namespace espalier::arch
