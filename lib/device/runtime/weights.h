// SPDX-License-Identifier: Apache-2.0
// The weights of one GGUF, ready to multiply. The file is mapped. The name and shape of every
// tensor is checked against the architecture, and all problems are reported at once. Matrices are
// packed for the ISA where that pays, or mapped from a packed file (packed_file.h).
//
// Matrices that share a tensor are loaded as its rows, so the forward pass need not know such
// tensors. The pages of a packed matrix are returned to the system, so that a model is in memory
// once. Of a model that is larger than memory, one layer at a time is loaded.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "arch/arch.h"
#include "core/file.h"
#include "core/mapped_part.h"
#include "core/thread_pool.h"
#include "format/gguf.h"
#include "kernels/linear.h"
#include "runtime/packed_file.h"

namespace espalier::runtime {

// Legend: T tokens, H hidden, F ffn, V vocab, N q-heads, K kv-groups, D head_dim, R rotated values
// of a head, P positions. Rows of q and k are in GGUF's order of the rotary pairs. Vectors that the
// model lacks are empty.
struct Affine {
  kernels::Matrix matrix;
  std::vector<float> bias;  // as long as the matrix has rows
};
struct AttentionReaders {
  Affine q;                               // [N*D, H]
  Affine k, v;                            // [K*D, H]
  std::vector<float> q_norm_D, k_norm_D;  // norms over each head
};
struct FfnReaders {
  Affine gate, up;  // [F, H]; without a gate: only up
};
struct BlockWeights {
  std::vector<float> norm_H, norm_bias_H;
  std::variant<AttentionReaders, FfnReaders> readers;
  Affine consumer;                   // [H, N*D] or [H, F]
  std::vector<float> norm_behind_H;  // of what the consumer gives
};
// What weights lie in, beside mapped files.
struct Storage {
  std::vector<core::MappedPart> parts{};
  // Copies of tensors at the very end of a mapping (see weights.cpp).
  std::vector<std::vector<std::byte>> padded{};
};
struct LayerWeights {
  std::vector<BlockWeights> blocks{};  // those that the layer has, in order
  Storage storage{};
};

struct Weights {
  // Of a split model several. Empty where layers are loaded as they are needed.
  std::vector<core::MappedFile> files;
  std::vector<std::pair<std::string, core::FileStamp>> opened{};  // the same, and their paths
  std::optional<PackedFile> packed{};
  Storage storage{};
  const arch::Arch* arch = nullptr;
  arch::ModelDims dims;
  std::vector<LayerWeights> layers{};                        // all, or the one that was needed last
  std::function<LayerWeights(int layer)> load_layer{};       // empty where all are loaded
  int loaded = -1;                                           // the layer that was loaded last
  std::vector<float> output_norm_H{}, output_norm_bias_H{};  // over the divisor of logits
  std::vector<float> positions_PH{};                         // learned; empty for rotary positions
  kernels::Matrix output{};                                  // [V, H]; token_embd when tied
  format::GgufTensor token_embd{};
  std::span<const std::byte> embedding{};     // its bytes, of which rows are decoded; unless tied
  std::vector<double> inverse_frequencies{};  // [R/2] radians per position
  std::vector<double> local_inverse_frequencies{};  // the same for layers with a window
  // The same for a context longer than LongRoPE's original context.
  std::vector<double> long_text_inverse_frequencies{};
  std::int64_t bytes_per_token = 0;  // bytes read to decode one token

  // Valid until the next call. Error(input) where a layer that is loaded cannot be read.
  const LayerWeights& layer(int layer);
  // Error(input) when the model or its packed file has been written to since it was opened. What
  // was computed may then be of neither the old weights nor the new ones.
  void check_unchanged() const;
  // The embedding of one token at a position. token is in [0, V), position in [0, P).
  void embed(std::int32_t token, std::int64_t position, float* out_H) const noexcept;
};

// One matrix as it lies in the file: `n` rows of a tensor, from row `first` on.
struct MatrixBytes {
  const format::GgufTensor& tensor;
  std::int64_t first, n;
  std::span<const std::byte> bytes;
};
// Error(input) with file, tensor and place for a value that is not finite. For block formats only
// the scales are read.
void require_finite(const std::string& path, const MatrixBytes& matrix, core::ThreadPool& pool);
using MakeMatrix = std::function<kernels::Matrix(const MatrixBytes&)>;
// Reads everything but the matrices. Calls `make` for each matrix in turn and stores its result.
// Error(input) for vectors that are not finite, and for matrices in which packing found a value
// that is not.
Weights read_weights(const std::string& path, const MakeMatrix& make);
// Checks an untied embedding, whose rows are decoded from the file.
void require_finite_embedding(const std::string& path, const Weights& w, core::ThreadPool& pool);
// packed_file: use the matrices of a packed file that belongs to the model. Every weight is checked
// once, here or by pack_file().
Weights load_weights(const std::string& path, const kernels::KernelTable& table,
                     core::ThreadPool& pool, bool packed_file = true);
// The same without the layers, which are loaded and checked as they are needed. Memory and address
// space: the embedding, the output matrix and one layer, each as it lies in the file and packed.
// Keeps references to `table` and `pool`.
Weights load_layer_by_layer(const std::string& path, const kernels::KernelTable& table,
                            core::ThreadPool& pool);

}  // namespace espalier::runtime
