// SPDX-License-Identifier: Apache-2.0
// The lower triangle of a symmetric matrix, in tiles that stay in a processor's cache. For its
// Cholesky factorization A = L L^T it becomes L^-1, in its own memory.
//
// Each tile is the sum of products of tiles in one order, so that the result is the same for any
// number of threads and on every processor.
#pragma once
#include <cstdint>
#include <vector>

#include "core/thread_pool.h"
#include "quant/rows/row_kernels.h"

namespace espalier::quant {

class LowerTiles {
 public:
  explicit LowerTiles(std::int64_t n);  // zeros

  std::int64_t size() const { return n_; }
  double& at(std::int64_t row, std::int64_t column) {  // column <= row
    return tile(row / kTile, column / kTile)[row % kTile * kTile + column % kTile];
  }
  double at(std::int64_t row, std::int64_t column) const {
    return const_cast<LowerTiles*>(this)->at(row, column);
  }
  // False where the matrix is not positive definite; what is left then means nothing.
  [[nodiscard]] bool invert_cholesky(const RowKernels& kernels, core::ThreadPool& pool);

 private:
  double* tile(std::int64_t row, std::int64_t column) {
    return tiles_.data() + (row * (row + 1) / 2 + column) * kTile * kTile;
  }
  bool factor(const RowKernels& kernels, core::ThreadPool& pool);
  void invert(const RowKernels& kernels, core::ThreadPool& pool);

  std::int64_t n_, count_;  // of rows, and of rows of tiles
  std::vector<double> tiles_;
  // The inverses of L's tiles on the diagonal.
  std::vector<double> inverses_;
};

}  // namespace espalier::quant
