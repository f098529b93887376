// SPDX-License-Identifier: Apache-2.0
// The sizes of an architecture as GGUF metadata, for both towers. Examples are "<arch>.block_count"
// and "<arch>.attention.head_count": a number, or an array with one entry per layer. Of the
// tensors, only the presence of optional ones is looked at.
//
// Every "<arch>.*" key must be known. A key that would change the arithmetic (a sliding window,
// experts, another rope scaling) is refused by name, never ignored.
//
// Numbers stored as F32 are read as the shortest decimal that gives them (1e-05, not
// 9.99999975e-06). So sizes read from a file compare equal to those it was written from.
#pragma once
#include "arch/arch.h"
#include "format/gguf.h"

namespace espalier::arch {

struct GgufModel {
  const Arch* arch = nullptr;
  ModelDims dims;  // rope_scaling is set only when the file carries our own keys for it
  // rope_freqs.weight is present. Its values are the divisors of theta.
  bool rope_factors = false;
  // rope_factors_long.weight is present. It and rope_factors_short.weight hold the divisors of
  // dims.long_rope.
  bool long_factors = false;
};

// Error(input) for missing or impossible sizes. Error(unsupported) for an architecture or a key
// that we do not compute.
GgufModel read_gguf_model(const format::GgufHeader& header);

// The factor that stock readers put on attention scores in a file of these sizes. Most families
// have no key for it in GGUF.
double gguf_attention_scale(const Arch& arch, const ModelDims& dims);
// The family whose table describes a GGUF of this model: `arch` itself, or another that computes
// the same. (mistral is written as llama, and so is a qwen2 whose heads x head_dim is not hidden.)
// Error(unsupported) when stock readers would compute something else.
const Arch& gguf_family_for(const Arch& arch, const ModelDims& dims);

// The sizes that a GGUF of architecture `target` is written with. Absent blocks that stock readers
// need are written with a few channels of zeros.
ModelDims gguf_dims_for(const Arch& target, const ModelDims& dims);

// Sets general.architecture and the "<arch>.*" keys. `arch` is the result of gguf_family_for(). A
// quantity that is the same in all layers is written as one number. The caller writes the
// rope_tensors().
void write_gguf_model(const Arch& arch, const ModelDims& dims, format::GgufWriter& writer);

}  // namespace espalier::arch
