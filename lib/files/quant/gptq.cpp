// SPDX-License-Identifier: Apache-2.0
// GPTQ rounding in chunks of rows, and the factorization of H that it needs.
#include "quant/gptq.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "quant/chunk.h"
#include "quant/lower_tiles.h"
#include "quant/rounding.h"

namespace espalier::quant {

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

namespace {

// H = gram / tokens with damping, row by row in double.
class Hessian {
 public:
  Hessian(const TensorStatistics& statistics, std::int64_t n, double damping)
      : gram_(statistics.gram->data()), tokens_(statistics.tokens), n_(n) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += undamped(i, i);
    const double mean = sum / static_cast<double>(n);
    // When all inputs are zero, every rounding is equally good. The identity gives nearest
    // rounding.
    added_ = mean > 0 ? damping * mean : 1.0;
  }
  double at(std::int64_t i, std::int64_t k) const {
    return i == k ? undamped(i, i) + added_ : undamped(i, k);
  }

 private:
  double undamped(std::int64_t i, std::int64_t k) const {
    return static_cast<double>(gram_[i * n_ + k]) / tokens_;
  }
  const float* gram_;
  double tokens_;
  std::int64_t n_;
  double added_ = 0;
};

}  // namespace

GptqFactor::GptqFactor(const TensorStatistics& statistics, const GptqOptions& options,
                       core::ThreadPool* pool)
    : cols_(static_cast<std::int64_t>(statistics.sum_squares.size())), options_(options) {
  const std::int64_t n = cols_;
  ESP_CHECK(
      statistics.gram != nullptr && static_cast<std::int64_t>(statistics.gram->size()) == n * n,
      usage, "gptq rounding needs the inputs' second moments; calibrate with --gram");
  ESP_CHECK(std::isfinite(statistics.tokens) && statistics.tokens != 0 &&
                std::all_of(statistics.gram->begin(), statistics.gram->end(),
                            [](float v) { return std::isfinite(v); }),
            input, "calibration statistics are not finite");
  core::ThreadPool alone(1);
  core::ThreadPool& threads = pool != nullptr ? *pool : alone;
  const Hessian hessian(statistics, n, options.damping);
  h_.resize(static_cast<std::size_t>(n * n));
  // H = M M^T with M upper triangular is the Cholesky factorization of H with rows and columns
  // reversed. Then U = M^-1.
  LowerTiles reversed(n);
  threads.split(n, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t k = 0; k < n; ++k)
        h_[static_cast<std::size_t>(i * n + k)] = static_cast<float>(hessian.at(i, k));
      for (std::int64_t k = i; k < n; ++k) reversed.at(n - 1 - i, n - 1 - k) = hessian.at(i, k);
    }
  });
  ESP_CHECK(reversed.invert_cholesky(best_row_kernels(), threads), input,
            "the inputs' second moments are not positive definite; the calibration file is broken");
  v_.resize(static_cast<std::size_t>(n * n));
  weight_.resize(static_cast<std::size_t>(n));
  threads.split(n, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const double pivot = reversed.at(n - 1 - i, n - 1 - i);
      weight_[static_cast<std::size_t>(i)] = static_cast<float>(1.0 / (pivot * pivot));
      for (std::int64_t k = i + 1; k < n; ++k)
        v_[static_cast<std::size_t>(i * n + k)] =
            static_cast<float>(reversed.at(n - 1 - i, n - 1 - k) / pivot);
    }
  });
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
