// SPDX-License-Identifier: Apache-2.0
// GPTQ rounding in chunks of rows, and the factorization of H that it needs.
#include "quant/gptq.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <cmath>

#include "core/error.h"
#include "quant/chunk.h"
#include "quant/rounding.h"

namespace espalier::quant {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

// Inverse of the upper triangular m, block by block: [A B; 0 C]^-1 = [A^-1, -A^-1 B C^-1; 0, C^-1].
void invert_upper(Eigen::Ref<MatrixD> m) {
  const std::int64_t n = m.rows(), half = n / 2;
  if (n <= 48) {
    MatrixD inverse = MatrixD::Identity(n, n);
    m.triangularView<Eigen::Upper>().solveInPlace(inverse);
    m = inverse;
    return;
  }
  invert_upper(m.topLeftCorner(half, half));
  invert_upper(m.bottomRightCorner(n - half, n - half));
  const MatrixD corner =
      m.topLeftCorner(half, half).triangularView<Eigen::Upper>() * m.topRightCorner(half, n - half);
  m.topRightCorner(half, n - half).noalias() =
      -(corner * m.bottomRightCorner(n - half, n - half).triangularView<Eigen::Upper>());
}

}  // namespace

void pack_row(const Chunk& chunk, std::int64_t r, const format::QuantFormat& format,
              std::byte* out) {
  const Grid& grid = chunk.grid;
  GridBlock block;
  for (std::int64_t c = 0; c < chunk.factor.cols(); c += grid.block) {
    block.scale = chunk.block[static_cast<std::size_t>(c / grid.block * kRowChunk + r)];
    for (int s = 0; s < grid.block / grid.sub; ++s)
      block.sub[s] = chunk.scale[static_cast<std::size_t>((c / grid.sub + s) * kRowChunk + r)];
    for (int i = 0; i < grid.block; ++i)
      block.level[i] = chunk.level[static_cast<std::size_t>((c + i) * kRowChunk + r)];
    pack_block(format, block, out + c / grid.block * format.block_bytes);
  }
}

GptqFactor::GptqFactor(const TensorStatistics& statistics, const GptqOptions& options)
    : cols_(static_cast<std::int64_t>(statistics.sum_squares.size())), options_(options) {
  const std::int64_t n = cols_;
  ESP_CHECK(
      statistics.gram != nullptr && static_cast<std::int64_t>(statistics.gram->size()) == n * n,
      usage, "gptq rounding needs the inputs' second moments; calibrate with --gram");
  const Eigen::Map<const Matrix> gram(statistics.gram->data(), n, n);
  MatrixD h = gram.cast<double>() / statistics.tokens;
  ESP_CHECK(h.allFinite(), input, "calibration statistics are not finite");
  const double mean = h.diagonal().mean();
  // When all inputs are zero, every rounding is equally good. The identity gives nearest rounding.
  h.diagonal().array() += mean > 0 ? options.damping * mean : 1.0;
  h_.resize(static_cast<std::size_t>(n * n));
  Eigen::Map<Matrix>(h_.data(), n, n) = h.cast<float>();
  // H = M M^T with M upper triangular is the Cholesky factorization of H with rows and columns
  // reversed. Then U = M^-1.
  MatrixD reversed = h.reverse();
  const Eigen::LLT<Eigen::Ref<MatrixD>> llt(reversed);
  ESP_CHECK(llt.info() == Eigen::Success, input,
            "the inputs' second moments are not positive definite; the calibration file is broken");
  h = MatrixD(llt.matrixL()).reverse();
  invert_upper(h);
  v_.resize(static_cast<std::size_t>(n * n));
  weight_.resize(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    weight_[static_cast<std::size_t>(i)] = static_cast<float>(1.0 / (h(i, i) * h(i, i)));
    for (std::int64_t k = i + 1; k < n; ++k)
      v_[static_cast<std::size_t>(i * n + k)] = static_cast<float>(h(i, k) / h(i, i));
  }
}

std::vector<std::byte> gptq_round(std::span<const float> weights, std::int64_t rows,
                                  std::int64_t cols, const format::QuantFormat& format,
                                  const GptqFactor& factor, core::ThreadPool& pool) {
  ESP_CHECK(factor.cols() == cols, input, "calibration statistics are of ", factor.cols(),
            " channels, the matrix has ", cols, " columns");
  const std::int64_t row_bytes = format::matrix_bytes(format.id, 1, cols);
  std::vector<std::byte> out(static_cast<std::size_t>(rows * row_bytes));
  pool.split(rows, kRowChunk, [&](std::int64_t share_begin, std::int64_t share_end) {
    for (std::int64_t begin = share_begin; begin < share_end; begin += kRowChunk) {
      Chunk chunk(*format.grid, factor, best_row_kernels(), weights.data() + begin * cols,
                  std::min(kRowChunk, share_end - begin));
      sweep(chunk);
      descend(chunk);
      for (std::int64_t r = 0; r < chunk.rows; ++r)
        pack_row(chunk, r, format, out.data() + (begin + r) * row_bytes);
    }
  });
  return out;
}

}  // namespace espalier::quant
