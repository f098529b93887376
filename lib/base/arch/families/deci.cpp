// SPDX-License-Identifier: Apache-2.0
// DeciLM, and the models that neural architecture search made of Llama (Nemotron 51B, 49B, 253B).
// The blocks are Llama's. Their sizes differ from layer to layer, and some layers lack attention or
// FFN. A Llama with unequally pruned layers is written as this family.
//
// Source of names: DeciLMForCausalLM, which is not in transformers; GGUF: general.architecture
// "deci".
#include <numeric>

#include "arch/families/llama_blocks.h"
#include "core/error.h"

namespace espalier::arch {
namespace {

// Channels of a block that is written only for the sake of readers: whole blocks of every format.
constexpr std::int64_t kFiller = 256;

void check_gguf_layer(const std::string& place, std::int64_t heads, std::int64_t groups,
                      std::int64_t ffn) {
  ESP_CHECK(groups > 0 || heads == 0, unsupported, place, " has ", heads,
            " heads and no key-value heads: attention that is replaced by a linear map is not "
            "supported");
  ESP_CHECK(ffn > 0 || heads == 0, unsupported, place,
            " has attention but no FFN: stock readers ignore its attention; write the FFN with a "
            "few channels of zeros");
}

// Stock readers take the size of heads from layer 0. They also forget the attention of a layer
// without FFN, and when it is the last layer, which tokens are asked for.
void fill_for_readers(ModelDims& dims) {
  LayerDims& first = dims.layers.front();
  if (first.heads() == 0) {
    first[Axis::kv_groups] = 1;
    first[Axis::q_per_kv] = kFiller / std::gcd(kFiller, dims.head_dim);
  }
  for (LayerDims& l : dims.layers)
    if (l[Axis::ffn] == 0 && (l[Axis::kv_groups] > 0 || &l == &dims.layers.back()))
      l[Axis::ffn] = kFiller;
}

}  // namespace

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
    .gguf_70b_layers = 80,
    .check_gguf_layer = check_gguf_layer,
    .fill_for_readers = fill_for_readers,
    .unequal_layers = true,
    .absent_blocks = true,
    .other_model_type = "deci",
    .keys = {.output_bias = "attention_output_bias"},  // ours
    .model = kDecoderModel,
    .blocks = kLlamaBlocks};
static_assert(sound(k_deci));

}  // namespace espalier::arch
