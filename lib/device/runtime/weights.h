// SPDX-License-Identifier: Apache-2.0
// The weights of one GGUF, ready to multiply: the file is mapped, every tensor's name and shape is
// checked against the architecture (all problems reported at once), and matrices are packed for the
// ISA where that pays, or mapped as packed before (packed_file.h). Matrices that share a tensor are
// loaded as the rows they have in it, so that the forward pass need not know of such tensors. Pages
// of the mapping whose matrix was packed are given back, so that a model is in memory once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "core/file.h"
#include "core/thread_pool.h"
#include "format/gguf.h"
#include "kernels/linear.h"
#include "runtime/packed_file.h"

namespace espalier::runtime {

// Legend: T tokens, H hidden, F ffn, V vocab, N q-heads, K kv-groups, D head_dim, R how much of a
// head positions turn, P positions. Rows of q and k come in GGUF's order of the rotary pairs.
// Vectors that the model has not are empty.
struct LayerWeights {
  std::vector<float> attn_norm_H, ffn_norm_H, attn_norm_bias_H, ffn_norm_bias_H;
  std::vector<float> attn_post_norm_H, ffn_post_norm_H;  // over what a block adds to the stream
  std::vector<float> q_norm_D, k_norm_D;                 // over each head
  std::vector<float> q_bias, k_bias, v_bias, attn_out_bias, gate_bias, up_bias,
      down_bias;             // as long as the matrix has rows
  kernels::Matrix q;         // [N*D, H]
  kernels::Matrix k, v;      // [K*D, H]
  kernels::Matrix attn_out;  // [H, N*D]
  kernels::Matrix gate, up;  // [F, H]; without a gate: up alone
  kernels::Matrix down;      // [H, F]
};

struct Weights {
  core::MappedFile file;
  std::optional<PackedFile> packed{};
  std::vector<std::vector<std::byte>>
      padded{};  // copies of tensors at the very end of the mapping, see weights.cpp
  const arch::Arch* arch = nullptr;
  arch::ModelDims dims;
  std::vector<LayerWeights> layers{};
  std::vector<float> output_norm_H{}, output_norm_bias_H{};
  std::vector<float> positions_PH{};                // learned; empty where positions are turned
  kernels::Matrix output{};                         // [V, H]; token_embd when tied
  format::GgufTensor token_embd{};                  // rows are decoded from the file unless tied
  std::vector<double> inverse_frequencies{};        // [R/2] radians per position
  std::vector<double> local_inverse_frequencies{};  // the same of layers with a window
  std::vector<double>
      beyond_inverse_frequencies{};  // the same for a context longer than LongRoPE's original one
  std::int64_t bytes_per_token = 0;  // read to decode one token

  // Embedding of one token at a position; token in [0, V), position in [0, P).
  void embed(std::int32_t token, std::int64_t position, float* out_H) const noexcept;
};

// One matrix as it lies in the file: n rows of a tensor, from row `first` on.
struct MatrixBytes {
  const format::GgufTensor& tensor;
  std::int64_t first, n;
  std::span<const std::byte> bytes;
};
// Everything but the matrices, which are what `make` returns of each in turn.
Weights read_weights(const std::string& path,
                     const std::function<kernels::Matrix(const MatrixBytes&)>& make);
// packed_file: of a packed file that is there and belongs to the model, its matrices are used.
Weights load_weights(const std::string& path, const kernels::KernelTable& table,
                     core::ThreadPool& pool, bool packed_file = true);

}  // namespace espalier::runtime
