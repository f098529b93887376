// SPDX-License-Identifier: Apache-2.0
// The inverse of a Cholesky factor against plain loops, and its bits for every number of threads
// and every instruction set that runs here.
#include "quant/lower_tiles.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "core/rng.h"
#include "quant/gptq.h"

namespace espalier::quant {
namespace {

using Matrix = std::vector<std::vector<double>>;

// Positive definite, with a condition of about 1e4.
Matrix random_matrix(std::int64_t n, std::uint64_t seed) {
  core::Rng rng(seed);
  const auto size = static_cast<std::size_t>(n);
  std::vector<double> shared(size);
  for (double& v : shared) v = rng.normal();
  Matrix out(size, std::vector<double>(size));
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t k = 0; k <= i; ++k)
      out[i][k] = out[k][i] = (i == k ? 1.0 + static_cast<double>(i % 9) : 0.0) +
                              3 * shared[i] * shared[k] + 0.001 * rng.normal();
  return out;
}

LowerTiles tiles_of(const Matrix& a) {
  LowerTiles out(static_cast<std::int64_t>(a.size()));
  for (std::int64_t i = 0; i < out.size(); ++i)
    for (std::int64_t k = 0; k <= i; ++k)
      out.at(i, k) = a[static_cast<std::size_t>(i)][static_cast<std::size_t>(k)];
  return out;
}

// L^-1 by the textbook.
Matrix plain_inverse(const Matrix& a) {
  const std::size_t n = a.size();
  Matrix lower(n, std::vector<double>(n)), out = lower;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t k = 0; k <= i; ++k) {
      double sum = a[i][k];
      for (std::size_t j = 0; j < k; ++j) sum -= lower[i][j] * lower[k][j];
      lower[i][k] = i == k ? std::sqrt(sum) : sum / lower[k][k];
    }
  for (std::size_t c = 0; c < n; ++c)
    for (std::size_t i = c; i < n; ++i) {
      double sum = i == c ? 1 : 0;
      for (std::size_t k = c; k < i; ++k) sum -= lower[i][k] * out[k][c];
      out[i][c] = sum / lower[i][i];
    }
  return out;
}

TEST(LowerTiles, TheInverseIsThatOfPlainLoops) {
  core::ThreadPool pool(2);
  for (const std::int64_t n : {1, 5, 63, 64, 65, 200}) {
    const Matrix a = random_matrix(n, static_cast<std::uint64_t>(n)), expected = plain_inverse(a);
    LowerTiles tiles = tiles_of(a);
    ASSERT_TRUE(tiles.invert_cholesky(best_row_kernels(), pool)) << n;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k <= i; ++k)
        ASSERT_NEAR(tiles.at(i, k),
                    expected[static_cast<std::size_t>(i)][static_cast<std::size_t>(k)], 1e-12)
            << n << ": " << i << ", " << k;
  }
}

TEST(LowerTiles, BitsAreTheSameForEveryNumberOfThreadsAndInstructionSet) {
  const Matrix a = random_matrix(330, 4);
  core::ThreadPool one(1);
  LowerTiles expected = tiles_of(a);
  ASSERT_TRUE(expected.invert_cholesky(row_kernels()[0], one));
  int compared = 0;
  for (const RowKernels& kernels : row_kernels()) {
    if (!kernels.runnable()) continue;
    for (const int threads : {1, 2, 4, 9}) {
      core::ThreadPool pool(threads);
      LowerTiles found = tiles_of(a);
      ASSERT_TRUE(found.invert_cholesky(kernels, pool));
      for (std::int64_t i = 0; i < found.size(); ++i)
        for (std::int64_t k = 0; k <= i; ++k)
          ASSERT_EQ(found.at(i, k), expected.at(i, k)) << kernels.isa << " " << threads;
      ++compared;
    }
  }
  EXPECT_GE(compared, 4);
}

TEST(LowerTiles, WhatIsNotPositiveDefiniteIsSaid) {
  core::ThreadPool pool(2);
  for (const double wrong : {-3.0, 0.0, std::nan(""), HUGE_VAL})
    for (const std::size_t at : {0, 70}) {
      Matrix a = random_matrix(130, 2);
      a[at][at] = wrong;
      EXPECT_FALSE(tiles_of(a).invert_cholesky(best_row_kernels(), pool)) << wrong << " " << at;
    }
}

// What GPTQ reads: H^-1 = U^T U, so U H U^T is the unit matrix.
TEST(LowerTiles, TheFactorOfGptqIsTheInverseOfH) {
  const std::int64_t n = 96;
  TensorStatistics statistics{std::vector<double>(static_cast<std::size_t>(n), 1.0), nullptr, 10};
  const Matrix a = random_matrix(n, 6);
  std::vector<float> gram;
  for (const auto& row : a)
    for (const double v : row) gram.push_back(static_cast<float>(10 * v));
  statistics.gram = std::make_shared<const std::vector<float>>(gram);
  core::ThreadPool pool(3);
  const GptqFactor alone(statistics), factor(statistics, {}, &pool);
  for (std::int64_t i = 0; i < n * n; ++i) {
    ASSERT_EQ(alone.feedback()[i], factor.feedback()[i]);
    ASSERT_EQ(alone.h()[i], factor.h()[i]);
  }
  const auto u = [&](std::int64_t i, std::int64_t k) {
    const double pivot = 1 / std::sqrt(static_cast<double>(factor.weight()[i]));
    return i == k ? pivot : k < i ? 0.0 : pivot * static_cast<double>(factor.feedback()[i * n + k]);
  };
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (std::int64_t k = i; k < n; ++k)
        for (std::int64_t l = j; l < n; ++l)
          sum += u(i, k) * static_cast<double>(factor.h()[k * n + l]) * u(j, l);
      ASSERT_NEAR(sum, i == j ? 1 : 0, 1e-4) << i << ", " << j;
    }
}

}  // namespace
}  // namespace espalier::quant
