// SPDX-License-Identifier: Apache-2.0
// Right-looking factorization, and inversion from the last column of tiles to the first. Both are
// products of tiles but for the tiles on the diagonal.
#include "quant/lower_tiles.h"

#include <algorithm>
#include <cmath>

namespace espalier::quant {
namespace {

constexpr std::int64_t kValues = kTile * kTile;

// out = a b
void product(const RowKernels& kernels, const double* a, const double* b, double* out) {
  std::fill_n(out, kValues, 0.0);
  kernels.multiply_tile(a, b, out);
  for (std::int64_t i = 0; i < kValues; ++i) out[i] = -out[i];
}

void transpose(const double* a, double* out) {
  for (int r = 0; r < kTile; ++r)
    for (int c = 0; c < kTile; ++c) out[c * kTile + r] = a[r * kTile + c];
}

// The lower factor of a tile, in place, with zeros above.
bool factor_tile(double* a) {
  double column[kTile];
  for (int k = 0; k < kTile; ++k) {
    const double pivot = a[k * kTile + k];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    const double root = std::sqrt(pivot);
    for (int i = k; i < kTile; ++i) {
      column[i] = i == k ? root : a[i * kTile + k] / root;
      a[i * kTile + k] = column[i];
    }
    std::fill_n(a + k * kTile + k + 1, kTile - k - 1, 0.0);
    for (int i = k + 1; i < kTile; ++i)
      for (int j = k + 1; j <= i; ++j) a[i * kTile + j] -= column[i] * column[j];
  }
  return true;
}

// The inverse of a lower tile.
void invert_tile(const double* lower, double* out) {
  std::fill_n(out, kValues, 0.0);
  for (int i = 0; i < kTile; ++i) {
    double* row = out + i * kTile;
    row[i] = 1;
    for (int k = 0; k < i; ++k) {
      const double by = lower[i * kTile + k];
      for (int j = 0; j <= k; ++j) row[j] -= by * out[k * kTile + j];
    }
    const double pivot = lower[i * kTile + i];
    for (int j = 0; j <= i; ++j) row[j] /= pivot;
  }
}

// Calls f(i) for begin <= i < end. Neighbours go to different threads, because work grows with i.
template <typename F>
void each(core::ThreadPool& pool, std::int64_t begin, std::int64_t end, F&& f) {
  if (begin >= end) return;
  pool.run([&](int worker, int workers) {
    for (std::int64_t i = begin + worker; i < end; i += workers) f(i);
  });
}

}  // namespace

LowerTiles::LowerTiles(std::int64_t n)
    : n_(n),
      count_((n + kTile - 1) / kTile),
      tiles_(static_cast<std::size_t>(count_ * (count_ + 1) / 2 * kValues)),
      inverses_(static_cast<std::size_t>(count_ * kValues)) {
  // The matrix is followed by a unit matrix up to whole tiles.
  for (std::int64_t i = n; i < count_ * kTile; ++i) at(i, i) = 1;
}

bool LowerTiles::invert_cholesky(const RowKernels& kernels, core::ThreadPool& pool) {
  if (!factor(kernels, pool)) return false;
  invert(kernels, pool);
  return true;
}

bool LowerTiles::factor(const RowKernels& kernels, core::ThreadPool& pool) {
  std::vector<double> turned(static_cast<std::size_t>(count_ * kValues));
  for (std::int64_t j = 0; j < count_; ++j) {
    double* inverse = inverses_.data() + j * kValues;
    if (!factor_tile(tile(j, j))) return false;
    invert_tile(tile(j, j), inverse);
    double turned_inverse[kValues];
    transpose(inverse, turned_inverse);
    // L_ij = A_ij L_jj^-T, also turned.
    each(pool, j + 1, count_, [&](std::int64_t i) {
      double of[kValues];
      product(kernels, tile(i, j), turned_inverse, of);
      std::copy_n(of, kValues, tile(i, j));
      transpose(of, turned.data() + i * kValues);
    });
    each(pool, j + 1, count_, [&](std::int64_t i) {
      for (std::int64_t k = j + 1; k <= i; ++k)
        kernels.multiply_tile(tile(i, j), turned.data() + k * kValues, tile(i, k));
    });
  }
  return true;
}

// W_ij = -(sum of W_ik L_kj over j < k <= i) L_jj^-1
void LowerTiles::invert(const RowKernels& kernels, core::ThreadPool& pool) {
  std::vector<double> column(static_cast<std::size_t>(count_ * kValues));
  for (std::int64_t j = count_ - 1; j >= 0; --j) {
    for (std::int64_t k = j + 1; k < count_; ++k)
      std::copy_n(tile(k, j), kValues, column.data() + k * kValues);
    const double* inverse = inverses_.data() + j * kValues;
    std::copy_n(inverse, kValues, tile(j, j));
    each(pool, j + 1, count_, [&](std::int64_t i) {
      double sum[kValues] = {};  // with its sign turned
      for (std::int64_t k = j + 1; k <= i; ++k)
        kernels.multiply_tile(tile(i, k), column.data() + k * kValues, sum);
      product(kernels, sum, inverse, tile(i, j));
    });
  }
}

}  // namespace espalier::quant
