// SPDX-License-Identifier: Apache-2.0
// Conversion to tiles, and products of tiles by AMX or by AVX512_BF16.
#include "model/ops/cpu/bf16_panels.h"

#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "core/error.h"

#if defined(__x86_64__)
// GCC 12 warns of its own header: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#define ESP_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#endif

namespace espalier::model::cpu {
namespace {

using torch::Tensor;
constexpr std::int64_t kSide = 16;           // vectors, or pairs of values, of a tile
constexpr std::int64_t kValues = 2 * kSide;  // of a vector in a tile

}  // namespace

#if defined(__x86_64__)
namespace {

// As many of 16 as there are.
__mmask16 mask_of(std::int64_t n) {
  return static_cast<__mmask16>((1u << std::clamp<std::int64_t>(n, 0, kSide)) - 1);
}

// Word [i][j] of a tile becomes word [j][i].
ESP_BF16 void transpose(std::uint32_t* tile) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = _mm512_load_si512(tile + kSide * i);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  // a[4 q + c] holds column c of each 128-bit lane of rows 4 q .. 4 q + 3.
  for (int c = 0; c < 4; ++c) {
    const __m512i low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88),
                  high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88),
                  low_odd = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd),
                  high_odd = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    b[c] = _mm512_shuffle_i32x4(low, high, 0x88);
    b[4 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    b[8 + c] = _mm512_shuffle_i32x4(low, high, 0xdd);
    b[12 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
  }
  for (int i = 0; i < 16; ++i) _mm512_store_si512(tile + kSide * i, b[i]);
}

struct Source {
  const float* data;
  std::int64_t n, k, stride;  // between rows where these are contiguous, else between columns
};

// 16 vectors by 16 pairs of values, from `value` on: word [vector][pair].
ESP_BF16 void tile_of_rows(const Source& in, std::int64_t vector, std::int64_t value,
                           std::uint32_t* tile) {
  const __mmask16 low = mask_of(in.k - value), high = mask_of(in.k - value - kSide);
  for (std::int64_t i = 0; i < kSide; ++i) {
    const bool inside = vector + i < in.n;
    const float* p = in.data + (inside ? (vector + i) * in.stride + value : 0);
    const __m512 a = _mm512_maskz_loadu_ps(inside ? low : __mmask16{0}, p),
                 b = _mm512_maskz_loadu_ps(inside ? high : __mmask16{0}, p + kSide);
    _mm512_store_si512(tile + kSide * i, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a)));
  }
}

// One pair of values of all vectors: word [pair][vector] of the tile of each block, `step` words
// apart.
ESP_BF16 void pair_of_columns(const Source& in, std::int64_t value, std::uint32_t* words,
                              std::int64_t step) {
  alignas(64) std::array<std::uint16_t, 32> order{};
  for (std::uint16_t i = 0; i < 16; ++i) {
    order[2 * i] = i;
    order[2 * i + 1] = static_cast<std::uint16_t>(16 + i);
  }
  const __m512i interleave = _mm512_load_si512(order.data());
  const float* even = in.data + value * in.stride;
  const float* odd = even + (value + 1 < in.k ? in.stride : 0);
  const __mmask16 has_even = value < in.k ? 0xffff : 0, has_odd = value + 1 < in.k ? 0xffff : 0;
  for (std::int64_t v = 0; v < in.n; v += kSide, words += step) {
    const __mmask16 some = mask_of(in.n - v);
    const __m512 a = _mm512_maskz_loadu_ps(some & has_even, even + v),
                 b = _mm512_maskz_loadu_ps(some & has_odd, odd + v);
    _mm512_store_si512(
        words,
        _mm512_permutexvar_epi16(interleave, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a))));
  }
}

// A result of 32 x 32, of which rows x columns are wanted.
struct Target {
  float* data;
  std::int64_t stride, rows, columns;
};

void copy_part(const float* values, const Target& out) {
  for (std::int64_t r = 0; r < std::min<std::int64_t>(out.rows, 2 * kSide); ++r)
    std::copy_n(values + 2 * kSide * r, std::min<std::int64_t>(out.columns, 2 * kSide),
                out.data + out.stride * r);
}

struct alignas(64) TileConfig {
  std::uint8_t palette, start;
  std::array<std::uint8_t, 14> reserved;
  std::array<std::uint16_t, 16> row_bytes;
  std::array<std::uint8_t, 16> rows;
};
// Not on the stack: GCC believes that ldtilecfg reads 8 bytes alone, and leaves the others unset.
constinit const TileConfig kTileConfig{.palette = 1,
                                       .start = 0,
                                       .reserved = {},
                                       .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                       .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

__attribute__((target("amx-tile"))) void begin_tiles() { _tile_loadconfig(&kTileConfig); }
__attribute__((target("amx-tile"))) void end_tiles() { _tile_release(); }

// Two blocks of vectors by two. `tiles`: of each block.
__attribute__((target("amx-tile,amx-bf16"))) void multiply_amx(const std::uint32_t* left,
                                                               const std::uint32_t* right,
                                                               std::int64_t tiles,
                                                               const Target& out) {
  constexpr std::int64_t kBytes = 64;
  const std::int64_t next = tiles * Panels::kTile;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t t = 0; t < tiles; ++t, left += Panels::kTile, right += Panels::kTile) {
    _tile_loadd(4, left, kBytes);
    _tile_loadd(6, right, kBytes);
    _tile_loadd(7, right + next, kBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, left + next, kBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float part[4 * kSide * kSide];
  const bool whole = out.rows >= 2 * kSide && out.columns >= 2 * kSide;
  float* to = whole ? out.data : part;
  const std::int64_t stride = whole ? out.stride : 2 * kSide, bytes = 4 * stride;
  _tile_stored(0, to, bytes);
  _tile_stored(1, to + kSide, bytes);
  _tile_stored(2, to + kSide * stride, bytes);
  _tile_stored(3, to + kSide * stride + kSide, bytes);
  if (!whole) copy_part(part, out);
}

// The same by vectors of 16 results.
ESP_BF16 void multiply_avx512(const std::uint32_t* left, const std::uint32_t* right,
                              std::int64_t tiles, const Target& out) {
  constexpr std::int64_t kRows = 8;
  const std::int64_t next = tiles * Panels::kTile;
  alignas(64) float part[4 * kSide * kSide];
  for (std::int64_t first = 0; first < 2 * kSide; first += kRows) {
    const std::uint32_t* rows = left + first / kSide * next + first % kSide * kSide;
    const std::uint32_t* columns = right;
    __m512 sums[kRows][2];
    for (auto& row : sums) row[0] = row[1] = _mm512_setzero_ps();
    for (std::int64_t t = 0; t < tiles; ++t, rows += Panels::kTile, columns += Panels::kTile)
      for (std::int64_t pair = 0; pair < kSide; ++pair) {
        const auto a = reinterpret_cast<__m512bh>(_mm512_load_si512(columns + kSide * pair)),
                   b = reinterpret_cast<__m512bh>(_mm512_load_si512(columns + next + kSide * pair));
#pragma GCC unroll 8
        for (std::int64_t r = 0; r < kRows; ++r) {
          const auto x = reinterpret_cast<__m512bh>(
              _mm512_set1_epi32(static_cast<std::int32_t>(rows[kSide * r + pair])));
          sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, a);
          sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, b);
        }
      }
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < kRows; ++r) {
      _mm512_store_ps(part + 2 * kSide * (first + r), sums[r][0]);
      _mm512_store_ps(part + 2 * kSide * (first + r) + kSide, sums[r][1]);
    }
  }
  copy_part(part, out);
}

// So many times 32 left vectors stay in the second-level cache while right ones pass.
constexpr std::int64_t kGroup = 8;

// `upper`: only the blocks that hold a result on the diagonal or right of it.
void multiply(const Panels& left, const Panels& right, bool upper, bool amx, const Tensor& out) {
  const std::int64_t rows = left.vectors(), columns = right.vectors(), tiles = left.tiles(),
                     down = (rows + 31) / 32, across = (columns + 31) / 32;
  std::vector<std::pair<std::int64_t, std::int64_t>> tasks;  // the first row of a group, a column
  for (std::int64_t m = 0; m < down; m += kGroup)
    for (std::int64_t n = upper ? m : 0; n < across; ++n) tasks.emplace_back(m, n);
  float* data = out.mutable_data_ptr<float>();
  at::parallel_for(0, std::ssize(tasks), 1, [&](std::int64_t begin, std::int64_t end) {
    if (amx) begin_tiles();
    for (std::int64_t task = begin; task < end; ++task) {
      const auto [first, n] = tasks[static_cast<std::size_t>(task)];
      const std::int64_t last = std::min(first + kGroup, upper ? std::min(down, n + 1) : down);
      for (std::int64_t m = first; m < last; ++m) {
        const Target target{data + 32 * m * columns + 32 * n, columns, rows - 32 * m,
                            columns - 32 * n};
        (amx ? multiply_amx : multiply_avx512)(left.block(2 * m), right.block(2 * n), tiles,
                                               target);
      }
    }
    if (amx) end_tiles();
  });
}

}  // namespace

bool has_amx_products() {
  static const bool has = __builtin_cpu_supports("amx-bf16") && at::cpu::init_amx();
  return has;
}

bool has_bf16_products() {
  static const bool has =
      __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
  return has;
}

Panels::Panels(const Tensor& vectors, Side side)
    : n_(vectors.size(0)), k_(vectors.size(1)), side_(side) {
  const bool by_rows = vectors.stride(1) == 1;
  ESP_CHECK(by_rows || vectors.stride(0) == 1, internal, "vectors that are not contiguous");
  const Source in{vectors.const_data_ptr<float>(), n_, k_, vectors.stride(by_rows ? 0 : 1)};
  words_ = torch::empty({blocks() * tiles() * kTile}, torch::kInt32);
  auto* words = reinterpret_cast<std::uint32_t*>(words_.mutable_data_ptr<std::int32_t>());
  const std::int64_t step = tiles() * kTile, full = (n_ + kSide - 1) / kSide;
  std::fill(words + full * step, words + blocks() * step, 0);
  const bool turn = by_rows == (side == Side::right);
  if (by_rows) {
    at::parallel_for(0, full, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b)
        for (std::int64_t t = 0; t < tiles(); ++t) {
          tile_of_rows(in, kSide * b, kValues * t, words + b * step + t * kTile);
          if (turn) transpose(words + b * step + t * kTile);
        }
    });
    return;
  }
  at::parallel_for(0, tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      std::uint32_t* tile = words + t * kTile;
      for (std::int64_t pair = 0; pair < kSide; ++pair)
        pair_of_columns(in, kValues * t + 2 * pair, tile + kSide * pair, step);
      if (!turn) continue;
      for (std::int64_t b = 0; b < full; ++b) transpose(tile + b * step);
    }
  });
}

#else

bool has_bf16_products() { return false; }
bool has_amx_products() { return false; }
namespace {
void multiply(const Panels&, const Panels&, bool, bool, const Tensor&) {}
}  // namespace
Panels::Panels(const Tensor& vectors, Side side)
    : n_(vectors.size(0)), k_(vectors.size(1)), side_(side) {
  core::fail(core::ErrorKind::internal, "no instructions for bfloat16");
}

#endif

std::int64_t Panels::blocks() const { return 2 * ((n_ + 2 * kSide - 1) / (2 * kSide)); }
const std::uint32_t* Panels::block(std::int64_t b) const {
  return reinterpret_cast<const std::uint32_t*>(words_.const_data_ptr<std::int32_t>()) +
         b * tiles() * kTile;
}

Tensor product(const Panels& left, const Panels& right, Bf16Instructions instructions) {
  ESP_CHECK(left.values() == right.values() && left.side() == Panels::Side::left &&
                right.side() == Panels::Side::right,
            internal, "a product of vectors of ", left.values(), " and ", right.values(),
            " values, or of the wrong sides");
  Tensor out = torch::empty({left.vectors(), right.vectors()});
  multiply(left, right, false, instructions == Bf16Instructions::fastest && has_amx_products(),
           out);
  return out;
}

Tensor symmetric_product(const Panels& left, const Panels& right) {
  Tensor out = torch::empty({left.vectors(), right.vectors()});
  multiply(left, right, true, has_amx_products(), out);
  const std::int64_t n = out.size(0);
  float* data = out.mutable_data_ptr<float>();
  constexpr std::int64_t kBlock = 32;  // rows and columns of it stay in the first-level cache
  at::parallel_for(0, (n + kBlock - 1) / kBlock, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t top = kBlock * begin; top < std::min(n, kBlock * end); top += kBlock)
      for (std::int64_t first = 0; first <= top; first += kBlock)
        for (std::int64_t row = top; row < std::min(n, top + kBlock); ++row)
          for (std::int64_t column = first; column < std::min(row, first + kBlock); ++column)
            data[row * n + column] = data[column * n + row];
  });
  return out;
}

}  // namespace espalier::model::cpu
