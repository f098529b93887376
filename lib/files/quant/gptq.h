// SPDX-License-Identifier: Apache-2.0
// GPTQ rounding (Frantar, Ashkboos, Hoefler, Alistarh 2022, arXiv 2210.17323) on the grids of
// GGUF's block formats.
//
// Let H = gram / tokens + damping * mean(diag) * I, and H^-1 = U^T U with U upper triangular.
// Rounding column i of a row changes it by d_i = w_i - q_i. Moving the later columns by w_k -= d_i
// U_ik / U_ii leaves them at their optimum. The output error is exactly sum d_i^2 / U_ii^2.
//
// Beyond the paper:
// - The scale of each block is chosen when the sweep reaches it. Among a few candidates, the one
//   with the least error of the sweep inside the block wins.
// - Afterwards, coordinate descent on levels and stored scales lowers (w - q)^T H (w - q) further.
//
// Columns are rounded in natural order. Rows are independent of each other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "quant/grid.h"
#include "quant/imatrix.h"

namespace espalier::quant {

struct GptqOptions {
  double damping = 0.01;
  int descent_passes = 2;
};

// The part that depends on the inputs alone. Matrices with the same input share it.
class GptqFactor {
 public:
  // On all threads of the pool, or on this one. The result is the same.
  GptqFactor(const TensorStatistics& statistics, const GptqOptions& options = {},
             core::ThreadPool* pool = nullptr);
  std::int64_t cols() const { return cols_; }
  const float* h() const { return h_.data(); }         // [cols, cols]
  const float* feedback() const { return v_.data(); }  // [cols, cols] U_ik / U_ii for k > i, else 0
  const float* weight() const { return weight_.data(); }  // [cols] 1 / U_ii^2
  const GptqOptions& options() const { return options_; }

 private:
  std::int64_t cols_;
  GptqOptions options_;
  std::vector<float> h_, v_, weight_;
};

// weights[rows * cols] -> bytes of the matrix in a block format. The result does not depend on the
// number of threads.
std::vector<std::byte> gptq_round(std::span<const float> weights, std::int64_t rows,
                                  std::int64_t cols, const format::QuantFormat& format,
                                  const GptqFactor& factor, core::ThreadPool& pool);

}  // namespace espalier::quant
