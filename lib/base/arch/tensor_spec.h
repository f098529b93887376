// SPDX-License-Identifier: Apache-2.0
// A row of a family's table of tensors.
#pragma once
#include <cstdint>
#include <string_view>

#include "arch/axis.h"
#include "arch/role.h"

namespace espalier::arch {

// How a tensor changes from the Hugging Face layout to GGUF.
// - rope_permute: the rows of each head move from the half-split order of transformers (i, i + D/2)
//   to the interleaved order of the ggml `llama` architecture (2i, 2i + 1).
// - plus_one: the Hugging Face layout stores the gain minus one (Gemma, Nemotron).
// - transpose: Hugging Face files alone store the matrix columns first (GPT-2's Conv1D). Rows and
//   columns of the table, and of every tensor in memory, are those of GGUF.
enum class Transform : std::uint8_t { none, rope_permute, plus_one, transpose };
// When a tensor is present: always, unless ModelDims::tied, or when ModelDims has such biases.
enum class Present : std::uint8_t { always, untied, attention_bias, output_bias, mlp_bias };

struct TensorSpec {
  Role role;
  // Hugging Face name, "{L}" = layer index. Consecutive entries of one name are stacked rows of one
  // tensor. With "{E}" the role is a stack of matrices, one for each index of the first axis of its
  // rows, and every matrix is a tensor of its own: "{E}" = its index.
  std::string_view hf;
  Extent rows, cols{};  // a vector has no cols
  Transform to_gguf = Transform::none;
  Present present = Present::always;
  // Of a stack: the name of a tensor with three dimensions that holds all of it, in files that have
  // one. Consecutive entries of one such name are stacked rows of each of its matrices.
  std::string_view hf_stack = {};

  constexpr bool is_vector() const { return absent(cols); }
  constexpr bool is_stack() const { return hf.find("{E}") != std::string_view::npos; }
  constexpr bool operator==(const TensorSpec&) const = default;
};

constexpr bool is_layer_spec(const TensorSpec& spec) {
  return spec.hf.find("{L}") != std::string_view::npos;
}

}  // namespace espalier::arch
