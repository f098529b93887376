// SPDX-License-Identifier: Apache-2.0
// The GPTQ sweep over chunks of rows, and the factorization of H that it needs.
#include "quant/gptq.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "quant/descent.h"
#include "quant/rounding.h"

namespace espalier::quant {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

constexpr std::int64_t kBatch = 128;  // columns between two updates of the rest of the row
constexpr int kTile = kMaxSub;        // side of diagonal_blocks(); whole sub-blocks

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

// One sub-block of a row, as the sweep reaches it.
struct SubBlock {
  const float* w;       // current weights
  const float* v;       // its rows of its diagonal tile, from its first column
  const float* weight;  // of the squares of differences
};
struct Rounded {
  std::int8_t level[kTile];
  float difference[kTile];  // w - q at the time of rounding
};

// Returns the sum of d^2 * weight over a sub-block rounded with `scale`, feeding each difference
// forward. Stops when the sum exceeds `limit`.
template <int N>
float sweep_of(const Grid& grid, const SubScale& scale, const SubBlock& of, float limit,
               Rounded& out) {
  const auto [w, v, weight] = of;
  float t[N];
  for (int i = 0; i < N; ++i) t[i] = w[i];
  const float inverse = inverse_step(scale);
  float error = 0;
  for (int i = 0; i < N; ++i) {
    const int l = nearest_level(grid, scale, inverse, t[i]);
    const float d = t[i] - grid_value(scale, l);
    out.level[i] = static_cast<std::int8_t>(l);
    out.difference[i] = d;
    error += d * d * weight[i];
    if (!(error < limit)) return error;
    for (int k = 0; k < N; ++k) t[k] -= d * v[i * kTile + k];  // v is 0 up to the diagonal
  }
  return error;
}

// Rounds the sub-block of `block` whose first column is c, from the current weights. `difference`
// receives the values of w - q at the time of rounding.
void round_sub_block(const Grid& grid, const GptqFactor& factor, const float* w, std::int64_t c,
                     GridBlock& block, float* difference) {
  const SubBlock of{
      w, factor.diagonal_blocks() + c / kTile * kTile * kTile + (c % kTile) * (kTile + 1),
      factor.weight() + c};
  const auto sub = static_cast<int>(c % grid.block / grid.sub);
  const auto sweep = grid.sub == 64 ? sweep_of<64> : grid.sub == 32 ? sweep_of<32> : sweep_of<16>;
  SubScale candidates[kMaxCandidates];
  const int n = scale_candidates(grid, block, w, of.weight, candidates);
  float best = std::numeric_limits<float>::infinity();
  Rounded trial;
  for (int i = 0; i < n; ++i) {
    const float error = sweep(grid, candidates[i], of, best, trial);
    if (i > 0 && !(error < best)) continue;
    best = error;
    block.sub[sub] = candidates[i];
    std::copy(trial.level, trial.level + grid.sub, block.level + sub * grid.sub);
    std::copy(trial.difference, trial.difference + grid.sub, difference);
  }
}

// The sweep over one chunk of rows. Overwrites w.
void sweep_rows(const Grid& grid, const GptqFactor& factor, Matrix& w,
                std::vector<GridBlock>& blocks) {
  const std::int64_t rows = w.rows(), cols = w.cols(), blocks_per_row = cols / grid.block;
  const Eigen::Map<const Matrix> v(factor.feedback(), cols, cols);
  Matrix differences(rows, kBatch);
  for (std::int64_t begin = 0; begin < cols; begin += kBatch) {
    const std::int64_t width = std::min(kBatch, cols - begin);
    for (std::int64_t c = begin; c < begin + width; c += grid.sub) {
      const std::int64_t rest = begin + width - c - grid.sub;
      for (std::int64_t r = 0; r < rows; ++r) {
        GridBlock& block = blocks[static_cast<std::size_t>(r * blocks_per_row + c / grid.block)];
        float* row = w.row(r).data();
        if (c % grid.block == 0) begin_block(grid, row + c, factor.weight() + c, block);
        float* difference = differences.row(r).data() + (c - begin);
        round_sub_block(grid, factor, row + c, c, block, difference);
        if (rest > 0)
          w.row(r).segment(c + grid.sub, rest).noalias() -=
              Eigen::Map<const Eigen::RowVectorXf>(difference, grid.sub) *
              v.block(c, c + grid.sub, grid.sub, rest);
      }
    }
    const std::int64_t after = cols - begin - width;
    if (after > 0)
      w.rightCols(after).noalias() -=
          differences.leftCols(width) * v.block(begin, begin + width, width, after);
  }
}

}  // namespace

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
  blocks_.assign(static_cast<std::size_t>((n + kTile - 1) / kTile * kTile * kTile), 0.0f);
  for (std::int64_t i = 0; i < n; ++i) {
    weight_[static_cast<std::size_t>(i)] = static_cast<float>(1.0 / (h(i, i) * h(i, i)));
    for (std::int64_t k = i + 1; k < n; ++k) {
      const auto value = static_cast<float>(h(i, k) / h(i, i));
      v_[static_cast<std::size_t>(i * n + k)] = value;
      if (k / kTile == i / kTile)
        blocks_[static_cast<std::size_t>((i / kTile * kTile + i % kTile) * kTile + k % kTile)] =
            value;
    }
  }
}

std::vector<std::byte> gptq_round(std::span<const float> weights, std::int64_t rows,
                                  std::int64_t cols, const format::QuantFormat& format,
                                  const GptqFactor& factor, core::ThreadPool& pool) {
  ESP_CHECK(factor.cols() == cols, input, "calibration statistics are of ", factor.cols(),
            " channels, the matrix has ", cols, " columns");
  const Grid& grid = *format.grid;
  const std::int64_t blocks_per_row = cols / grid.block;
  std::vector<std::byte> out(static_cast<std::size_t>(format::matrix_bytes(format.id, rows, cols)));
  pool.split(rows, kRowChunk, [&](std::int64_t share_begin, std::int64_t share_end) {
    for (std::int64_t begin = share_begin; begin < share_end; begin += kRowChunk) {
      const std::int64_t n = std::min(kRowChunk, share_end - begin);
      const Eigen::Map<const Matrix> original(weights.data() + begin * cols, n, cols);
      Matrix work = original;
      std::vector<GridBlock> blocks(static_cast<std::size_t>(n * blocks_per_row));
      sweep_rows(grid, factor, work, blocks);
      descend(grid, factor, original.data(), n, blocks);
      for (std::int64_t b = 0; b < n * blocks_per_row; ++b)
        pack_block(format, blocks[static_cast<std::size_t>(b)],
                   out.data() + (begin * blocks_per_row + b) * format.block_bytes);
    }
  });
  return out;
}

}  // namespace espalier::quant
