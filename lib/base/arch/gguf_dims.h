// SPDX-License-Identifier: Apache-2.0
// The architecture's sizes as GGUF metadata carries them, for both towers: "<arch>.block_count",
// "<arch>.attention.head_count" (a number, or an array with one entry a layer), ... Tensors are not
// looked at, except for which of the optional ones are present.
//
// Every "<arch>.*" key must be known: one that would change the arithmetic (a sliding window,
// experts, another rope scaling) is refused by name, never ignored. Numbers stored as F32 are read
// as the shortest decimal that gives them (1e-05, not 9.99999975e-06), so that sizes read from a
// file compare equal to those it was written from.
#pragma once
#include "arch/arch.h"
#include "format/gguf.h"

namespace espalier::arch {

struct GgufModel {
  const Arch* arch = nullptr;
  ModelDims dims;  // rope_scaling is set only when the file carries our own keys for it
  bool rope_factors =
      false;  // rope_freqs.weight is present: theta's divisors are that tensor's values
  bool long_factors = false;  // rope_factors_long.weight is present: the divisors of dims.long_rope
                              // are that tensor's and its brother's values
};

// Error(input) for missing or impossible sizes, Error(unsupported) for an architecture or a key we
// do not compute.
GgufModel read_gguf_model(const format::GgufHeader& header);

// What stock readers scale attention scores by in a file of these sizes: GGUF has no key for it.
double gguf_attention_scale(const Arch& arch, const ModelDims& dims);
// The family whose table describes a GGUF of this model: `arch` itself, or another one that
// computes the same (mistral and a qwen2 whose heads x head_dim is not hidden are llama).
// Error(unsupported) when stock readers would compute something else.
const Arch& gguf_target(const Arch& arch, const ModelDims& dims);

// The sizes that a GGUF of architecture `target` is written with: stock readers of `deci` take the
// size of heads from layer 0 and forget the attention of a layer without FFN (and which tokens are
// asked for, when it is the last), so absent blocks they would stumble over are there with a few
// channels, to be filled with zeros.
ModelDims gguf_sizes(const Arch& target, const ModelDims& dims);

// `arch` as gguf_target() gave it. Sets general.architecture and the "<arch>.*" keys; a quantity
// that is the same in all layers is written as one number. The caller writes the rope_tensors().
void write_gguf_model(const Arch& arch, const ModelDims& dims, format::GgufWriter& writer);

}  // namespace espalier::arch
