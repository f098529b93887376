// SPDX-License-Identifier: Apache-2.0
// Packs in two steps: the format takes blocks of GGUF apart, and their levels and scales go into
// the interleaved group. Unpacking does the reverse.
#include "kernels/layout.h"

#include <cstring>

#include "core/error.h"
#include "format/blocks/super_block.h"

namespace espalier::kernels {
namespace {

using format::Parts;
using format::QuantFormat;

constexpr std::int64_t kMostRows = 16;  // of a group

std::uint8_t u8(int x) { return static_cast<std::uint8_t>(x); }

// Where the parts of one unit (32, 64 or 256 columns of a group) lie.
struct Unit {
  std::int64_t rows;
  int bits, levels;      // levels: runs of 32 columns
  int d_bytes, m_bytes;  // what d and m take of a block
  int scale_words;
  bool pairs;                // scale words are the 6-bit pairs of Q4_K and Q5_K
  std::int64_t level_bytes;  // bytes of 32 columns of the group

  Unit(const QuantFormat& f, std::int64_t interleave)
      : rows(interleave),
        bits(f.level_bits),
        levels(static_cast<int>(f.block / 32)),
        scale_words(f.scale_words),
        pairs(f.paired_scales),
        level_bytes(rows * 4 * bits) {
    const auto rest = static_cast<int>(f.block_bytes) - 4 * scale_words - 4 * levels * bits;
    d_bytes = rest == 1 ? 1 : 2;
    m_bytes = rest - d_bytes;
  }
  std::int64_t m_at() const { return rows * d_bytes; }
  std::int64_t words_at() const { return m_at() + rows * m_bytes; }
  std::int64_t levels_at() const { return words_at() + rows * 4 * scale_words; }
  std::int64_t bytes() const { return levels_at() + levels * level_bytes; }
};

// The 4 levels of a step are one 32-bit word. Its bytes never carry into each other here. Every
// word of the row is written once.
template <int kBits>
void put_levels(const Unit& u, std::int64_t row, const std::uint8_t* q, unsigned char* out) {
  const std::int64_t vector = 4 * u.rows;
  std::uint32_t step[8], high[2] = {};
  std::memcpy(step, q, sizeof step);
  const auto put = [&](int v, std::uint32_t word) {
    std::memcpy(out + 4 * row + vector * v, &word, 4);
  };
  const auto every = [](std::uint32_t byte) { return byte * 0x01010101u; };
  if constexpr (kBits == 8) {
    for (int s = 0; s < 8; ++s) put(s, step[s]);
  } else if constexpr (kBits <= 3) {
    for (int s = 0; s < 8; ++s) high[s / 4] |= (step[s] & every(3)) << (s % 4 * 2);
    put(0, high[0]);
    put(1, high[1]);
    if constexpr (kBits == 2) return;
    std::uint32_t third = 0;
    for (int s = 0; s < 8; ++s) third |= (step[s] >> 2 & every(1)) << s;
    put(2, third);
  } else {
    for (int v = 0; v < 4; ++v) put(v, (step[v] & every(15)) | (step[v + 4] & every(15)) << 4);
    if constexpr (kBits == 5) {
      for (int s = 0; s < 8; ++s) high[0] |= (step[s] >> 4 & every(1)) << s;
      put(4, high[0]);
    } else if constexpr (kBits == 6) {
      for (int s = 0; s < 8; ++s) high[s / 4] |= (step[s] >> 4 & every(3)) << (s % 4 * 2);
      put(4, high[0]);
      put(5, high[1]);
    }
  }
}

void get_levels(const Unit& u, std::int64_t row, const unsigned char* in, std::uint8_t* q) {
  const std::int64_t vector = 4 * u.rows;
  for (int j = 0; j < 32; ++j) {
    const int step = j / 4;
    const unsigned char* at = in + 4 * row + j % 4;
    if (u.bits == 8) {
      q[j] = at[vector * step];
      continue;
    }
    if (u.bits <= 3) {
      q[j] = (at[vector * (step / 4)] >> (step % 4 * 2)) & 3;
      if (u.bits == 3) q[j] = u8(q[j] | ((at[vector * 2] >> step) & 1) << 2);
      continue;
    }
    int level = (at[vector * (step % 4)] >> (step / 4 * 4)) & 15;
    if (u.bits == 5) level |= ((at[vector * 4] >> step) & 1) << 4;
    if (u.bits == 6) level |= ((at[vector * (4 + step / 4)] >> (step % 4 * 2)) & 3) << 4;
    q[j] = u8(level);
  }
}

// d or m of one row: 2 bytes, 1 byte, or nothing.
void put_number(int bytes, std::uint16_t x, unsigned char* out, std::int64_t row) {
  if (bytes == 2) std::memcpy(out + 2 * row, &x, 2);
  if (bytes == 1) out[row] = u8(x);
}
void get_number(int bytes, const unsigned char* in, std::int64_t row, std::uint16_t& x) {
  if (bytes == 2) std::memcpy(&x, in + 2 * row, 2);
  if (bytes == 1) x = in[row];
}

// The 6-bit values in the order of their pairs: 8 scales, then 8 mins.
struct Scales6 {
  std::int8_t of[16];

  std::int8_t* scale() { return of; }
  std::int8_t* min() { return of + 8; }
};

void put_words(const Unit& u, const Parts& x, std::int64_t row, unsigned char* out) {
  std::uint32_t w[4] = {};
  if (!u.pairs) {
    std::memcpy(w, x.scales, static_cast<std::size_t>(4 * u.scale_words));
  } else {
    Scales6 six;
    format::unpack_scales6(x.scales, six.scale(), six.min());
    for (int half = 0; half < 2; ++half) {
      const auto value = [&](int p) { return static_cast<std::uint32_t>(six.of[2 * p + half]); };
      for (int k = 0; k < 3; ++k) w[k] |= (value(2 * k) | value(2 * k + 1) << 6) << (16 * half);
      w[0] |= (value(6) & 15) << (16 * half + 12);
      w[1] |= (value(7) & 15) << (16 * half + 12);
      w[2] |= (value(6) >> 4 | value(7) >> 4 << 2) << (16 * half + 12);
    }
  }
  for (int k = 0; k < u.scale_words; ++k)
    std::memcpy(out + u.words_at() + 4 * (k * u.rows + row), &w[k], 4);
}

void get_words(const Unit& u, std::int64_t row, const unsigned char* in, Parts& x) {
  std::uint32_t w[4] = {};
  for (int k = 0; k < u.scale_words; ++k)
    std::memcpy(&w[k], in + u.words_at() + 4 * (k * u.rows + row), 4);
  if (!u.pairs) {
    std::memcpy(x.scales, w, static_cast<std::size_t>(4 * u.scale_words));
    return;
  }
  Scales6 six;
  for (int half = 0; half < 2; ++half) {
    const auto field = [&](int k, int at, std::uint32_t mask) {
      return (w[k] >> (16 * half + at)) & mask;
    };
    std::uint32_t value[8];
    for (int k = 0; k < 3; ++k) {
      value[2 * k] = field(k, 0, 63);
      value[2 * k + 1] = field(k, 6, 63);
    }
    value[6] = field(0, 12, 15) | field(2, 12, 3) << 4;
    value[7] = field(1, 12, 15) | field(2, 14, 3) << 4;
    for (int p = 0; p < 8; ++p) six.of[2 * p + half] = static_cast<std::int8_t>(value[p]);
  }
  format::pack_scales6(six.scale(), six.min(), x.scales);
}

template <int kBits>
void pack_rows(const QuantFormat& f, std::int64_t interleave, const GgufRows& source,
               unsigned char* group) {
  const auto [gguf, row_bytes, n, cols] = source;
  const Unit unit(f, interleave);
  const std::int64_t unit_bytes = unit.bytes(), levels_at = unit.levels_at(),
                     blocks = cols / f.block;
  if (n < interleave) std::memset(group, 0, static_cast<std::size_t>(blocks * unit_bytes));
  Parts rows[kMostRows];
  for (std::int64_t b = 0; b < blocks; ++b) {
    unsigned char* at = group + b * unit_bytes;
    // All rows in one call, since a call for each would take as long as a small block.
    f.take_apart(reinterpret_cast<const std::byte*>(gguf + b * f.block_bytes), row_bytes, n, rows);
    for (std::int64_t row = 0; row < n; ++row) {
      const Parts& x = rows[row];
      put_number(unit.d_bytes, x.d, at, row);
      put_number(unit.m_bytes, x.m, at + unit.m_at(), row);
      if (unit.scale_words > 0) put_words(unit, x, row, at);
      for (int l = 0; l < unit.levels; ++l)
        put_levels<kBits>(unit, row, x.q + 32 * l, at + levels_at + l * unit.level_bytes);
    }
  }
}

}  // namespace

void pack_group(format::FormatId id, std::int64_t interleave, const GgufRows& rows,
                unsigned char* group) {
  const QuantFormat& f = format::info(id);
  ESP_ASSERT(rows.n <= interleave && interleave <= kMostRows);
  const auto pack = f.level_bits == 2   ? pack_rows<2>
                    : f.level_bits == 3 ? pack_rows<3>
                    : f.level_bits == 4 ? pack_rows<4>
                    : f.level_bits == 5 ? pack_rows<5>
                    : f.level_bits == 6 ? pack_rows<6>
                                        : pack_rows<8>;
  pack(f, interleave, rows, group);
}

void unpack_block(format::FormatId id, std::int64_t interleave, const unsigned char* group,
                  std::int64_t row, std::int64_t block_index, unsigned char* gguf_block) {
  const QuantFormat& f = format::info(id);
  const Unit unit(f, interleave);
  const unsigned char* at = group + block_index * unit.bytes();
  Parts x;
  get_number(unit.d_bytes, at, row, x.d);
  get_number(unit.m_bytes, at + unit.m_at(), row, x.m);
  get_words(unit, row, at, x);
  for (int l = 0; l < unit.levels; ++l)
    get_levels(unit, row, at + unit.levels_at() + l * unit.level_bytes, x.q + 32 * l);
  f.put_together(x, reinterpret_cast<std::byte*>(gguf_block));
}

}  // namespace espalier::kernels
