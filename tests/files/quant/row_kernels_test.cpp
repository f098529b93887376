// SPDX-License-Identifier: Apache-2.0
// GPTQ rounding in lanes of rows against plain loops over one row, byte by byte, for every format
// and every instruction set that runs here.
#include "quant/rows/row_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/rng.h"
#include "quant/chunk.h"
#include "quant/plain_gptq.h"
#include "quant/rounding.h"

namespace espalier::quant {
namespace {

// Rows of every kind that matrices have.
std::vector<float> rows_of(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  core::Rng rng(seed);
  std::vector<float> out;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) {
      auto v = static_cast<float>(0.05 * rng.normal());
      if (r % 9 == 1) v = 0;                       // nothing
      if (r % 9 == 2) v = 0.125f;                  // a constant
      if (r % 9 == 3) v *= 1e-38f;                 // denormal numbers
      if (r % 9 == 4 && c % 37 == 5) v = 6;        // outliers
      if (r % 9 == 5) v = c % 2 == 0 ? 0.0f : v;   // half of it zero
      if (r % 9 == 6) v = std::round(40 * v) / 8;  // ties
      if (r % 9 == 7) v *= 100;
      out.push_back(v);
    }
  return out;
}

// Second moments of correlated inputs. Every seventh channel was always zero.
TensorStatistics inputs_of(std::int64_t cols, std::uint64_t seed) {
  core::Rng rng(seed, 1);
  const std::int64_t tokens = 40;
  std::vector<double> x(static_cast<std::size_t>(tokens * cols));
  for (std::int64_t t = 0; t < tokens; ++t) {
    const double shared = rng.normal();
    for (std::int64_t c = 0; c < cols; ++c)
      x[static_cast<std::size_t>(t * cols + c)] =
          c % 7 == 3 ? 0 : (shared + rng.normal()) * (1 + static_cast<double>(c % 5));
  }
  std::vector<float> gram(static_cast<std::size_t>(cols * cols));
  TensorStatistics out;
  out.tokens = static_cast<double>(tokens);
  for (std::int64_t a = 0; a < cols; ++a) {
    for (std::int64_t b = 0; b < cols; ++b) {
      double sum = 0;
      for (std::int64_t t = 0; t < tokens; ++t)
        sum +=
            x[static_cast<std::size_t>(t * cols + a)] * x[static_cast<std::size_t>(t * cols + b)];
      gram[static_cast<std::size_t>(a * cols + b)] = static_cast<float>(sum);
    }
    out.sum_squares.push_back(static_cast<double>(gram[static_cast<std::size_t>(a * (cols + 1))]));
  }
  out.gram = std::make_shared<const std::vector<float>>(std::move(gram));
  return out;
}

std::vector<std::byte> in_lanes(const format::QuantFormat& f, const GptqFactor& factor,
                                const RowKernels& kernels, const std::vector<float>& w,
                                std::int64_t rows) {
  const std::int64_t cols = factor.cols(), row_bytes = format::matrix_bytes(f.id, 1, cols);
  std::vector<std::byte> out(static_cast<std::size_t>(rows * row_bytes));
  for (std::int64_t begin = 0; begin < rows; begin += kRowChunk) {
    Chunk chunk(*f.grid, factor, kernels, w.data() + begin * cols,
                std::min(kRowChunk, rows - begin));
    sweep(chunk);
    descend(chunk);
    for (std::int64_t r = 0; r < chunk.rows; ++r)
      pack_row(chunk, r, f, out.data() + (begin + r) * row_bytes);
  }
  return out;
}

TEST(RowKernels, RowsInLanesAreThoseOfThePlainLoops) {
  core::ThreadPool pool(2);
  int compared = 0;
  for (const std::int64_t cols : {32, 192, 512}) {
    const TensorStatistics inputs = inputs_of(cols, 7);
    const GptqFactor factor(inputs);
    for (const format::QuantFormat& f : format::all_formats()) {
      if (f.is_float() || cols % f.block != 0) continue;
      for (const std::int64_t rows : {1, 67}) {
        if (rows == 1 && cols != 192) continue;
        const std::vector<float> w = rows_of(rows, cols, static_cast<std::uint64_t>(cols + rows));
        std::vector<std::byte> expected;
        for (std::int64_t r = 0; r < rows; ++r) {
          const auto row = PlainRow(f, factor, w.data() + r * cols).round();
          expected.insert(expected.end(), row.begin(), row.end());
        }
        for (const RowKernels& kernels : row_kernels()) {
          if (!kernels.runnable()) continue;
          EXPECT_EQ(in_lanes(f, factor, kernels, w, rows), expected)
              << kernels.isa << " " << f.name << " " << rows << " x " << cols;
          ++compared;
        }
        EXPECT_EQ(round_matrix(w, rows, cols, f.id, {Rounding::gptq, &inputs}, pool), expected)
            << f.name << " " << rows << " x " << cols;
      }
    }
  }
  EXPECT_GE(compared, 7 + 2 * 8 + 14);
}

TEST(RowKernels, WithoutDescentTheSweepAloneIsTheSame) {
  const TensorStatistics inputs = inputs_of(256, 3);
  const GptqFactor factor(inputs, {.descent_passes = 0});
  const std::vector<float> w = rows_of(20, 256, 5);
  for (const format::QuantFormat& f : format::all_formats()) {
    if (f.is_float()) continue;
    std::vector<std::byte> expected;
    for (std::int64_t r = 0; r < 20; ++r) {
      const auto row = PlainRow(f, factor, w.data() + r * 256).round();
      expected.insert(expected.end(), row.begin(), row.end());
    }
    EXPECT_EQ(in_lanes(f, factor, best_row_kernels(), w, 20), expected) << f.name;
  }
}

}  // namespace
}  // namespace espalier::quant
