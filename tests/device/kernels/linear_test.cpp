// SPDX-License-Identifier: Apache-2.0
// Every ISA, every format, odd shapes: y = W x against decode + dot in double, with the activations
// the kernel really multiplied (their quantized values). Both sides then differ by float rounding
// alone, so the tolerance is a few eps of sum |w x|.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>
#include <vector>

#include "core/half.h"
#include "core/rng.h"
#include "format/grid.h"
#include "kernels/kernel_tables.h"

namespace espalier::kernels {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_values(std::int64_t n, std::uint64_t seed) {
  core::Rng rng(seed, 0);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& x : out) x = static_cast<float>(rng.normal() * std::exp(rng.normal()));
  return out;
}

// What the kernel of this format multiplies instead of x.
std::vector<float> as_quantized(const KernelTable& table, ActivationForm form, const float* x,
                                std::int64_t cols, std::int64_t n_tokens) {
  std::vector<float> out(x, x + cols);
  if (form == ActivationForm::f32 || (form == ActivationForm::bf16 && n_tokens == 1)) return out;
  if (form == ActivationForm::bf16) {
    std::vector<std::uint16_t> rounded(out.size());
    table.round_bf16(x, cols, rounded.data());
    std::transform(rounded.begin(), rounded.end(), out.begin(), core::bf16_to_float);
    return out;
  }
  for (std::int64_t c = 0; c < cols; c += kChunk) {
    const std::int64_t n = std::min(kChunk, cols - c);
    ChunkPer32 per_32;
    ChunkPer256 per_256;
    if (form == ActivationForm::q8_per_32)
      table.quantize_per_32(x + c, n, &per_32);
    else
      table.quantize_per_256(x + c, n, &per_256);
    for (std::int64_t i = 0; i < n; ++i)
      out[c + i] = form == ActivationForm::q8_per_32 ? per_32.scale[i / 32] * per_32.q[i]
                                                     : per_256.scale * per_256.q[i];
  }
  return out;
}

struct Weights {
  std::vector<std::byte> bytes;  // exactly the matrix, so that a sanitizer sees reads past its end
  std::vector<float> values;
};

// Kept for the next ISA: the search of the K formats takes longer than the kernels.
const Weights& random_weights(const format::QuantFormat& f, std::int64_t rows, std::int64_t cols,
                              std::uint64_t seed) {
  static std::map<std::tuple<format::FormatId, std::int64_t, std::int64_t, std::uint64_t>, Weights>
      all;
  Weights& w = all[{f.id, rows, cols, seed}];
  if (!w.bytes.empty()) return w;
  const std::vector<float> exact = random_values(rows * cols, seed);
  w.bytes.resize(static_cast<std::size_t>(format::matrix_bytes(f.id, rows, cols)));
  f.encode(exact.data(), nullptr, w.bytes.data(), rows * cols);
  w.values.resize(exact.size());
  f.decode(w.bytes.data(), w.values.data(), rows * cols);
  return w;
}

// Every block: all bytes `fill`, stored scales 1.
void fill_blocks(const format::QuantFormat& f, int fill, std::vector<std::byte>& bytes) {
  std::vector<std::byte> block(static_cast<std::size_t>(f.block_bytes),
                               static_cast<std::byte>(fill));
  format::Parts parts;
  f.take_apart(block.data(), f.block_bytes, 1, &parts);
  parts.d = f.grid->scale_bits(1.0f);
  if (f.grid->affine) parts.m = parts.d;
  f.put_together(parts, block.data());
  for (std::size_t at = 0; at < bytes.size(); at += block.size())
    std::copy(block.begin(), block.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

// `values`: activations [n, cols]. x and y lie in the middle of NaNs, at an address that is a
// multiple of 4 bytes only.
void check(const KernelTable& table, const format::QuantFormat& f, const Weights& weights,
           std::int64_t rows, std::int64_t cols, std::int64_t n, const std::vector<float>& values,
           core::ThreadPool& pool) {
  SCOPED_TRACE(std::string(f.name) + " rows " + std::to_string(rows) + " cols " +
               std::to_string(cols) + " tokens " + std::to_string(n));
  std::vector<float> x(values.size() + 66, kNaN);
  std::copy(values.begin(), values.end(), x.begin() + 33);
  const std::int64_t ldy = rows + 5;
  std::vector<float> y(static_cast<std::size_t>(n * ldy + 66), -12345.0f);

  const Matrix w(table, f.id, weights.bytes, rows, cols, pool);
  Activations in(n, cols);
  in.set(x.data() + 33, n, cols);
  linear(table, w, in, y.data() + 33, ldy, pool);

  const ActivationForm form = table.linear[static_cast<std::size_t>(f.id)].form;
  std::int64_t written = 0;
  for (std::int64_t t = 0; t < n; ++t) {
    const std::vector<float> used = as_quantized(table, form, values.data() + t * cols, cols, n);
    for (std::int64_t r = 0; r < rows; ++r) {
      double dot = 0, size = 0;
      for (std::int64_t c = 0; c < cols; ++c) {
        const double product =
            static_cast<double>(weights.values[r * cols + c]) * static_cast<double>(used[c]);
        dot += product;
        size += std::abs(product);
      }
      // Offsets and minimums cancel: the terms are up to a few times larger than |w x|.
      ASSERT_NEAR(y[33 + t * ldy + r], dot, 256 * 0x1p-24 * size + 1e-30)
          << "row " << r << " token " << t;
    }
  }
  for (float v : y) written += v != -12345.0f;
  EXPECT_EQ(written, n * rows) << "values outside the result were written";
}

class EveryIsa : public testing::TestWithParam<NamedTable> {};

TEST_P(EveryIsa, EveryFormatOnOddShapes) {
  core::ThreadPool pool(2);
  int formats = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    for (std::int64_t rows : {1, 7, 8, 9, 16, 31, 33, 70}) {
      for (std::int64_t blocks : {1, 2, 3, 7, 9, 18}) {
        if (blocks > 3 && (f.block == 256 || rows == 70))
          continue;  // many rows and long rows need not meet
        const std::int64_t cols = f.is_float() ? blocks * 37 - 36 : blocks * f.block;
        const Weights& w = random_weights(f, rows, cols, 3);
        for (std::int64_t n : {1, 2, 3, 5})
          if (n < 5 || blocks <= 3)
            check(*GetParam().table, f, w, rows, cols, n, random_values(n * cols, 7), pool);
        if (HasFatalFailure()) return;
      }
    }
    ++formats;
  }
  EXPECT_EQ(formats, 17);
}

TEST_P(EveryIsa, EveryFormatWithManyTokens) {
  core::ThreadPool pool(2);
  for (const format::QuantFormat& f : format::all_formats()) {
    const std::int64_t rows = 25, cols = f.is_float() ? 1100 : f.block == 256 ? 512 : 320;
    const Weights& w = random_weights(f, rows, cols, 4);
    for (std::int64_t n : {4, 6, 7, 8, 9, 17, 67, 145})
      check(*GetParam().table, f, w, rows, cols, n, random_values(n * cols, 7), pool);
    if (HasFatalFailure()) return;
  }
}

// The largest levels and integer scales there are, with activations that all become 127 or -127:
// what kernels add up in 16 bits must hold products of one sign. 0x80 and 0x7F are the extremes of
// signed bytes, 0x00 and 0xFF of all others.
TEST_P(EveryIsa, LargestLevelsAndActivationsOverflowNothing) {
  core::ThreadPool pool(1);
  const std::int64_t rows = 17, cols = 256;
  int formats = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    if (f.is_float()) continue;
    ++formats;
    for (const int fill : {0x00, 0x7F, 0x80, 0xFF}) {
      Weights w{.bytes = std::vector<std::byte>(
                    static_cast<std::size_t>(format::matrix_bytes(f.id, rows, cols))),
                .values = std::vector<float>(static_cast<std::size_t>(rows * cols))};
      fill_blocks(f, fill, w.bytes);
      f.decode(w.bytes.data(), w.values.data(), rows * cols);
      for (const std::int64_t n : {1, 5})
        for (const int signs : {0, 1, 2}) {  // all positive, all negative, taking turns
          SCOPED_TRACE("bytes " + std::to_string(fill) + " signs " + std::to_string(signs));
          std::vector<float> values(static_cast<std::size_t>(n * cols), signs == 1 ? -1.0f : 1.0f);
          for (std::size_t i = 1; signs == 2 && i < values.size(); i += 2) values[i] = -1;
          check(*GetParam().table, f, w, rows, cols, n, values, pool);
          if (HasFatalFailure()) return;
        }
    }
  }
  EXPECT_EQ(formats, 14);
}

TEST_P(EveryIsa, PackedRowsDecodeExactly) {
  core::ThreadPool pool(2);
  int packed = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    const std::int64_t rows = 19, cols = f.is_float() ? 100 : 3 * f.block;
    Weights w = random_weights(f, rows, cols, 5);
    if (!f.is_float()) {  // any bits: scales of all signs and sizes, every level
      core::Rng rng(6, 0);
      for (std::byte& b : w.bytes)
        b = static_cast<std::byte>(rng.at(static_cast<std::uint64_t>(&b - w.bytes.data())) & 0xFF);
      f.decode(w.bytes.data(), w.values.data(), rows * cols);
    }
    const Matrix m(*GetParam().table, f.id, w.bytes, rows, cols, pool);
    packed += !m.packed().empty();
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (std::int64_t r = 0; r < rows; ++r) {
      m.decode_row(r, row.data());
      for (std::int64_t c = 0; c < cols; ++c) {
        const float expected = w.values[r * cols + c];
        ASSERT_TRUE(row[c] == expected || (std::isnan(row[c]) && std::isnan(expected)))
            << f.name << " row " << r << " column " << c;
      }
    }
  }
  EXPECT_EQ(packed, 14);
}

TEST_P(EveryIsa, ThreadsDoNotChangeResults) {
  const KernelTable& table = *GetParam().table;
  for (const format::QuantFormat& f : format::all_formats()) {
    const std::int64_t rows = 300, cols = 512;
    const Weights& weights = random_weights(f, rows, cols, 8);
    for (std::int64_t n : {1, 6}) {
      const std::vector<float> x = random_values(n * cols, 9);
      std::vector<float> first;
      for (int threads : {1, 2, 3}) {
        core::ThreadPool pool(threads);
        const Matrix w(table, f.id, weights.bytes, rows, cols, pool);
        Activations in(n, cols);
        in.set(x.data(), n, cols);
        std::vector<float> y(static_cast<std::size_t>(n * rows));
        linear(table, w, in, y.data(), rows, pool);
        if (first.empty()) first = y;
        ASSERT_EQ(first, y) << f.name << " with " << threads << " threads";
      }
    }
  }
}

TEST_P(EveryIsa, QuantizationOfActivations) {
  const KernelTable& table = *GetParam().table;
  const KernelTable& reference = select_isa("reference");
  for (std::int64_t n : {32, 64, 96, 224, 256}) {
    for (int kind = 0; kind < 4; ++kind) {
      std::vector<float> x = random_values(n, 10 + static_cast<std::uint64_t>(n));
      if (kind == 1) x.assign(x.size(), 0.0f);
      if (kind == 2) x.assign(x.size(), 1e-39f);
      if (kind == 3) x[static_cast<std::size_t>(n) - 1] = 3e38f;
      ChunkPer32 a, b;
      std::memset(static_cast<void*>(&b), 0x55, sizeof b);
      reference.quantize_per_32(x.data(), n, &a);
      table.quantize_per_32(x.data(), n, &b);
      ChunkPer256 c, d;
      std::memset(static_cast<void*>(&d), 0x55, sizeof d);
      reference.quantize_per_256(x.data(), n, &c);
      table.quantize_per_256(x.data(), n, &d);
      EXPECT_FLOAT_EQ(c.scale, d.scale);
      for (int i = 0; i < 256; ++i) {
        ASSERT_LE(std::abs(a.q[i] - b.q[i]), 1) << i;  // ties may fall either way
        ASSERT_LE(std::abs(c.q[i] - d.q[i]), 1) << i;
      }
      for (int g = 0; g < 8; ++g) {
        int sum = 0;
        for (int i = 0; i < 32; ++i) sum += b.q[32 * g + i];
        EXPECT_FLOAT_EQ(a.scale[g], b.scale[g]);
        EXPECT_EQ(b.sum[g], sum);
        sum = 0;
        for (int i = 0; i < 32; ++i) sum += d.q[32 * g + i];
        EXPECT_EQ(d.sum32[g], sum);
        EXPECT_EQ(d.sum16[2 * g] + d.sum16[2 * g + 1], sum);
      }
    }
  }
}

TEST_P(EveryIsa, RoundingToBfloat16) {
  const KernelTable& table = *GetParam().table;
  std::vector<float> x = random_values(77, 13);
  x[5] = 1.00390625f;  // halfway between 1 and the next bfloat16: to even, down
  x[6] = 1.01171875f;  // halfway, up
  x[7] = std::numeric_limits<float>::infinity();
  x[8] = kNaN;
  x[9] = 3.4e38f;  // beyond the largest bfloat16
  x[10] = -0.0f;
  for (const std::int64_t n : {1, 15, 16, 17, 77}) {
    std::vector<std::uint16_t> out(static_cast<std::size_t>(n) + 1, 0x5555);
    table.round_bf16(x.data(), n, out.data());
    for (std::int64_t i = 0; i < n; ++i) {
      const std::uint16_t expected = core::float_to_bf16(x[static_cast<std::size_t>(i)]),
                          got = out[static_cast<std::size_t>(i)];
      EXPECT_TRUE(std::isnan(x[static_cast<std::size_t>(i)]) ? std::isnan(core::bf16_to_float(got))
                                                             : got == expected)
          << i << " of " << n;
    }
    EXPECT_EQ(out.back(), 0x5555);
  }
}

TEST_P(EveryIsa, NotFiniteInputsAreSeenInTheOutput) {
  core::ThreadPool pool(1);
  for (const format::QuantFormat& f : format::all_formats()) {
    const std::int64_t rows = 16, cols = 512;
    const Weights& weights = random_weights(f, rows, cols, 11);
    for (float bad : {kNaN, std::numeric_limits<float>::infinity()}) {
      std::vector<float> x = random_values(2 * cols, 12);
      x[300] = x[cols + 301] = bad;
      const Matrix w(*GetParam().table, f.id, weights.bytes, rows, cols, pool);
      for (const std::int64_t n : {1, 2}) {
        Activations in(n, cols);
        in.set(x.data(), n, cols);
        std::vector<float> y(static_cast<std::size_t>(n * rows));
        linear(*GetParam().table, w, in, y.data(), rows, pool);
        for (float v : y) EXPECT_FALSE(std::isfinite(v)) << f.name << ", " << n << " tokens";
      }
    }
  }
}

#if defined(__aarch64__)
TEST(Neon, RunsEverywhereAndAloneIsCompiledIn) {
  EXPECT_TRUE(isa_runnable("neon"));
  EXPECT_EQ(isa_names().size(), 4u);  // the reference, neon, neon_dotprod, neon_i8mm
  EXPECT_EQ(compiled_against_simde(), 0u);
  for (const NamedTable& t : tables_under_test())
    EXPECT_EQ(t.table->linear[k_q4_0].interleave, 4) << t.name;
}
#else
TEST(Software, EveryIsaIsCompiledAgainstSimde) {
  ASSERT_GT(compiled_against_simde(), 0u)
      << "SIMDe was not found when this was configured: install libsimde-dev";
  EXPECT_EQ(compiled_against_simde(), isa_names().size() - 1);
}

// Tiles of AMX change where sums are made, not their order. (IQ4_XS: its levels are made unsigned
// without AMX, which rounds once more.)
TEST(Software, AmxGivesTheValuesOfAvx512Vnni) {
  std::map<std::string, const KernelTable*> tables;
  for (const NamedTable& t : tables_under_test()) tables[t.name] = t.table;
  ASSERT_TRUE(tables.contains("simde_amxint8"));
  core::ThreadPool pool(2);
  const std::int64_t rows = 40;
  int formats = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    if (f.is_float() || f.id == format::FormatId::iq4_xs) continue;
    ++formats;
    const std::int64_t cols = f.block == 256 ? 512 : 320;
    const Weights& w = random_weights(f, rows, cols, 9);
    for (const std::int64_t n : {2, 16, 35}) {
      const std::vector<float> x = random_values(n * cols, 10);
      const auto product = [&](const char* isa) {
        std::vector<float> y(static_cast<std::size_t>(n * rows));
        const Matrix m(*tables.at(isa), f.id, w.bytes, rows, cols, pool);
        Activations in(n, cols);
        in.set(x.data(), n, cols);
        linear(*tables.at(isa), m, in, y.data(), rows, pool);
        return y;
      };
      ASSERT_EQ(product("simde_amxint8"), product("simde_avx512vnni"))
          << f.name << ", " << n << " tokens";
      if (!tables.contains("amxint8")) continue;
      ASSERT_EQ(product("amxint8"), product("avx512vnni"))
          << f.name << ", " << n << " tokens, in hardware";
    }
  }
  EXPECT_EQ(formats, 13);
}
#endif

INSTANTIATE_TEST_SUITE_P(Kernels, EveryIsa, testing::ValuesIn(tables_under_test()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace espalier::kernels
