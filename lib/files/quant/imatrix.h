// SPDX-License-Identifier: Apache-2.0
// Calibration statistics for quantization: the mean squared activation per input channel of each
// matrix, in the GGUF layout of llama.cpp's imatrix files. Our files may add the full second-moment
// matrix of a tensor's inputs, which gptq rounding uses.
//
//   general.type "imatrix", imatrix.datasets [string], imatrix.chunk_count u32,
//   imatrix.chunk_size u32, espalier.text_sha256 string
//   per matrix: "<weight>.in_sum2" f32 [cols, 1]
//               "<weight>.counts"  f32 [1, 1] (tokens)
//               "<weight>.in_gram" f32 [cols, cols]; matrices with the same input share one:
//               for the others, espalier.gram_of.<weight> names the weight that has it
//
// Files of before August 2025 (imatrix.dat, little-endian) are read too:
//
//   i32 n, n x { string weight, i32 calls, i32 cols, f32 mean[cols] x calls },
//   and in most i32 chunks, string dataset                    string = i32 length + bytes
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arch/arch.h"

namespace espalier::quant {

struct TensorStatistics {
  std::vector<double> sum_squares;  // per input channel, over all tokens
  // Sum of x x^T over all tokens, cols * cols row-major. null when not collected. Tensors with the
  // same input share it.
  std::shared_ptr<const std::vector<float>> gram;
  double tokens = 0;
};

struct Imatrix {
  std::map<std::pair<arch::Role, int>, TensorStatistics> tensors;
  std::int64_t tokens = 0;      // 0: not known
  std::int64_t sequence = 512;  // length of the windows in which tokens saw each other
  std::string text_sha256, dataset;
  const TensorStatistics* find(arch::Role role, int layer) const;  // nullptr when absent
};

void write_imatrix(const Imatrix& imatrix, const std::string& path, bool with_gram);
// Also reads both formats of llama-imatrix. Error(input) for tensors that the model lacks, or of
// other widths. Matrices that no token has passed have no statistics.
Imatrix read_imatrix(const std::string& path, const arch::Arch& arch, const arch::ModelDims& dims);

// Layer by layer, files of so many bits per weight and more are rounded with float32 products
// unless bfloat16 is asked for: what that rounds of the weights is a share of what such formats do.
inline constexpr double kFineBits = 6;

// Of so many tokens, those that statistics of the output matrix alone read, which are a walk of
// their own where the other matrices are rounded layer by layer. That matrix has many rows and few
// inputs: some tokens for each input are enough.
inline std::int64_t tokens_for_output(std::int64_t hidden, std::int64_t tokens) {
  constexpr std::int64_t kLeast = 16384, kForEachInput = 4;
  return std::min(tokens, std::max(kLeast, kForEachInput * hidden));
}

}  // namespace espalier::quant
