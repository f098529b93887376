// SPDX-License-Identifier: Apache-2.0
// Packs in two steps: takes the levels and scales of one block out of GGUF, and writes them into
// the interleaved group. Unpacking does the reverse.
#include "kernels/layout.h"

#include <cstring>

#include "format/blocks/blocks.h"
#include "format/blocks/super_block.h"

namespace espalier::kernels {
namespace {

using namespace format;  // for the block structs

// One block of one row, taken apart. Only the fields of its format are written and used. Filling
// 256 levels for a block of 32 would cost more than the block.
struct Parts {
  std::uint16_t d = 0, m = 0;
  // Q2_K Q3_K Q6_K IQ4_XS: the bytes of the block's scales, unchanged.
  std::uint8_t scale[16] = {}, min[8] = {};
  std::uint8_t q[kSuperBlock];
};

// A block in place. GGUF aligns tensors, and all blocks have an even size. Loads from a copy would
// wait for the stores that made it.
template <typename Block>
const Block& at(const unsigned char* p) {
  static_assert(alignof(Block) <= 2 && sizeof(Block) % 2 == 0);
  return *reinterpret_cast<const Block*>(p);
}

template <typename Block>
void store(const Block& b, unsigned char* p) {
  std::memcpy(p, &b, sizeof b);
}

std::uint8_t u8(int x) { return static_cast<std::uint8_t>(x); }

// ---- Q2_0: byte j of qs = levels 4j..4j+3, two bits each
void bit_pairs_from(const std::uint8_t* qs, std::uint8_t* q) {
  for (int j = 0; j < kBlock64; ++j) q[j] = (qs[j / 4] >> (j % 4 * 2)) & 3;
}
void bit_pairs_to(const std::uint8_t* q, std::uint8_t* qs) {
  for (int j = 0; j < kBlock64; ++j) qs[j / 4] = u8(qs[j / 4] | (q[j] & 3) << (j % 4 * 2));
}

// ---- Q4_0 Q4_1 Q5_0 Q5_1: byte j of qs = level j | level j+16 << 4; bit j of qh = bit 4 of level
// j
void nibbles_from(const std::uint8_t* qs, std::uint8_t* q) {
  for (int j = 0; j < 16; ++j) {
    q[j] = qs[j] & 15;
    q[j + 16] = u8(qs[j] >> 4);
  }
}
void nibbles_to(const std::uint8_t* q, std::uint8_t* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = u8((q[j] & 15) | (q[j + 16] & 15) << 4);
}
void fifth_bits_from(const std::uint8_t* qh, std::uint8_t* q) {
  for (int j = 0; j < 32; ++j) q[j] = u8(q[j] | ((qh[j / 8] >> (j % 8)) & 1) << 4);
}
void fifth_bits_to(const std::uint8_t* q, std::uint8_t* qh) {
  std::memset(qh, 0, 4);
  for (int j = 0; j < 32; ++j) qh[j / 8] = u8(qh[j / 8] | (q[j] >> 4) << (j % 8));
}

// ---- Q4_K Q5_K: 64 columns share 32 bytes, the first 32 in the low nibbles; bit g of qh[l] = bit
// 4 of level 32g+l
void super_nibbles_from(const std::uint8_t* qs, std::uint8_t* q) {
  for (int c = 0; c < 4; ++c, qs += 32, q += 64) {
    for (int l = 0; l < 32; ++l) q[l] = qs[l] & 15;
    for (int l = 0; l < 32; ++l) q[32 + l] = u8(qs[l] >> 4);
  }
}
void super_nibbles_to(const std::uint8_t* q, std::uint8_t* qs) {
  for (int j = 0; j < kSuperBlock / 2; ++j) {
    const std::uint8_t* pair = q + j / 32 * 64 + j % 32;
    qs[j] = u8((pair[0] & 15) | (pair[32] & 15) << 4);
  }
}

[[gnu::always_inline]] inline Parts read_parts(FormatId id, const unsigned char* p) {
  Parts x;
  const auto affine = [&x](const auto& b) {
    x.d = b.d;
    x.m = b.m;
    nibbles_from(b.qs, x.q);
  };
  const auto scaled = [&x](const auto& b) {
    x.d = b.d;
    nibbles_from(b.qs, x.q);
  };
  const auto super = [&x](const auto& b) {
    x.d = b.d;
    x.m = b.dmin;
    unpack_scales6(b.scales, x.scale, x.min);
    super_nibbles_from(b.qs, x.q);
  };
  switch (id) {
    case FormatId::q8_0: {
      const auto& b = at<BlockQ8_0>(p);
      x.d = b.d;
      std::memcpy(x.q, b.qs, sizeof b.qs);
      break;
    }
    case FormatId::q2_0: {
      const auto& b = at<BlockQ2_0>(p);
      x.d = b.d;
      bit_pairs_from(b.qs, x.q);
      break;
    }
    case FormatId::q4_0:
      scaled(at<BlockQ4_0>(p));
      break;
    case FormatId::q4_1:
      affine(at<BlockQ4_1>(p));
      break;
    case FormatId::q5_0: {
      const auto& b = at<BlockQ5_0>(p);
      scaled(b);
      fifth_bits_from(b.qh, x.q);
      break;
    }
    case FormatId::q5_1: {
      const auto& b = at<BlockQ5_1>(p);
      affine(b);
      fifth_bits_from(b.qh, x.q);
      break;
    }
    case FormatId::q4_k:
      super(at<BlockQ4_K>(p));
      break;
    case FormatId::q5_k: {
      const auto& b = at<BlockQ5_K>(p);
      super(b);
      for (int g = 0; g < 8; ++g)
        for (int l = 0; l < 32; ++l)
          x.q[32 * g + l] = u8(x.q[32 * g + l] | ((b.qh[l] >> g) & 1) << 4);
      break;
    }
    case FormatId::q6_k: {  // 128 columns: ql nibbles of 64 bytes, qh pairs of bits of 32 bytes
      const auto& b = at<BlockQ6_K>(p);
      x.d = b.d;
      std::memcpy(x.scale, b.scales, sizeof b.scales);
      for (int g = 0; g < 8; ++g) {  // 32 columns each
        const std::uint8_t *low = b.ql + 64 * (g / 4) + 32 * (g % 2), *high = b.qh + 32 * (g / 4);
        const int low_shift = g % 4 / 2 * 4, high_shift = g % 4 * 2;
        for (int l = 0; l < 32; ++l)
          x.q[32 * g + l] = u8(((low[l] >> low_shift) & 15) | ((high[l] >> high_shift) & 3) << 4);
      }
      break;
    }
    case FormatId::iq4_nl:
      scaled(at<BlockIQ4_NL>(p));
      break;
    case FormatId::q2_k: {
      const auto& b = at<BlockQ2_K>(p);
      x.d = b.d;
      x.m = b.dmin;
      std::memcpy(x.scale, b.scales, sizeof b.scales);
      unpack_super_pairs(b.qs, x.q);
      break;
    }
    case FormatId::q3_k: {
      const auto& b = at<BlockQ3_K>(p);
      x.d = b.d;
      std::memcpy(x.scale, b.scales, sizeof b.scales);
      unpack_super_pairs(b.qs, x.q);
      for (int j = 0; j < kSuperBlock; ++j)
        x.q[j] = u8(x.q[j] | ((b.hmask[j % 32] >> (j / 32)) & 1) << 2);
      break;
    }
    case FormatId::iq4_xs: {
      const auto& b = at<BlockIQ4_XS>(p);
      x.d = b.d;
      x.m = b.scales_h;
      std::memcpy(x.scale, b.scales_l, sizeof b.scales_l);
      for (int g = 0; g < 8; ++g) nibbles_from(b.qs + 16 * g, x.q + 32 * g);
      break;
    }
    case FormatId::f32:
    case FormatId::f16:
    case FormatId::bf16:
      break;  // never packed
  }
  return x;
}

void write_parts(FormatId id, const Parts& x, unsigned char* p) {
  const auto super = [&x](auto& b) {
    b.d = x.d;
    b.dmin = x.m;
    pack_scales6(x.scale, x.min, b.scales);
    super_nibbles_to(x.q, b.qs);
  };
  switch (id) {
    case FormatId::q8_0: {
      BlockQ8_0 b{.d = x.d, .qs = {}};
      std::memcpy(b.qs, x.q, sizeof b.qs);
      store(b, p);
      break;
    }
    case FormatId::q2_0: {
      BlockQ2_0 b{.d = x.d, .qs = {}};
      bit_pairs_to(x.q, b.qs);
      store(b, p);
      break;
    }
    case FormatId::q4_0: {
      BlockQ4_0 b{.d = x.d, .qs = {}};
      nibbles_to(x.q, b.qs);
      store(b, p);
      break;
    }
    case FormatId::q4_1: {
      BlockQ4_1 b{.d = x.d, .m = x.m, .qs = {}};
      nibbles_to(x.q, b.qs);
      store(b, p);
      break;
    }
    case FormatId::q5_0: {
      BlockQ5_0 b{.d = x.d, .qh = {}, .qs = {}};
      nibbles_to(x.q, b.qs);
      fifth_bits_to(x.q, b.qh);
      store(b, p);
      break;
    }
    case FormatId::q5_1: {
      BlockQ5_1 b{.d = x.d, .m = x.m, .qh = {}, .qs = {}};
      nibbles_to(x.q, b.qs);
      fifth_bits_to(x.q, b.qh);
      store(b, p);
      break;
    }
    case FormatId::q4_k: {
      BlockQ4_K b{};
      super(b);
      store(b, p);
      break;
    }
    case FormatId::q5_k: {
      BlockQ5_K b{};
      super(b);
      for (int j = 0; j < kSuperBlock; ++j)
        b.qh[j % 32] = u8(b.qh[j % 32] | (x.q[j] >> 4) << (j / 32));
      store(b, p);
      break;
    }
    case FormatId::q6_k: {
      BlockQ6_K b{};
      b.d = x.d;
      std::memcpy(b.scales, x.scale, sizeof b.scales);
      for (int j = 0; j < kSuperBlock; ++j) {
        const int half = j / 128, l = j % 128;
        std::uint8_t& low = b.ql[64 * half + l % 64];
        std::uint8_t& high = b.qh[32 * half + l % 32];
        low = u8(low | (x.q[j] & 15) << (l / 64 * 4));
        high = u8(high | (x.q[j] >> 4) << (l / 32 * 2));
      }
      store(b, p);
      break;
    }
    case FormatId::iq4_nl: {
      BlockIQ4_NL b{.d = x.d, .qs = {}};
      nibbles_to(x.q, b.qs);
      store(b, p);
      break;
    }
    case FormatId::q2_k: {
      BlockQ2_K b{.scales = {}, .qs = {}, .d = x.d, .dmin = x.m};
      std::memcpy(b.scales, x.scale, sizeof b.scales);
      pack_super_pairs(x.q, b.qs);
      store(b, p);
      break;
    }
    case FormatId::q3_k: {
      BlockQ3_K b{.hmask = {}, .qs = {}, .scales = {}, .d = x.d};
      std::memcpy(b.scales, x.scale, sizeof b.scales);
      pack_super_pairs(x.q, b.qs);
      for (int j = 0; j < kSuperBlock; ++j)
        b.hmask[j % 32] = u8(b.hmask[j % 32] | (x.q[j] >> 2) << (j / 32));
      store(b, p);
      break;
    }
    case FormatId::iq4_xs: {
      BlockIQ4_XS b{.d = x.d, .scales_h = x.m, .scales_l = {}, .qs = {}};
      std::memcpy(b.scales_l, x.scale, sizeof b.scales_l);
      for (int g = 0; g < 8; ++g) nibbles_to(x.q + 32 * g, b.qs + 16 * g);
      store(b, p);
      break;
    }
    case FormatId::f32:
    case FormatId::f16:
    case FormatId::bf16:
      break;
  }
}

// Where the parts of one unit (32, 64 or 256 columns of a group) lie.
struct Unit {
  std::int64_t rows;
  int bits, levels;  // levels: runs of 32 columns
  bool minimum;      // there is a second u16 after d
  int scale_words;
  // True: scale words are the bytes of the block. False: they are the 6-bit pairs of Q4_K and Q5_K.
  bool raw_words;
  std::int64_t level_bytes;  // bytes of 32 columns of the group

  Unit(FormatId id, std::int64_t interleave) : rows(interleave) {
    const QuantFormat& f = info(id);
    levels = static_cast<int>(f.block / 32);
    minimum = id == FormatId::q4_1 || id == FormatId::q5_1 || id == FormatId::q4_k ||
              id == FormatId::q5_k || id == FormatId::q2_k || id == FormatId::iq4_xs;
    scale_words = id == FormatId::q6_k || id == FormatId::q2_k ? 4
                  : id == FormatId::iq4_xs                     ? 1
                  : levels == 8                                ? 3
                                                               : 0;
    raw_words = id != FormatId::q4_k && id != FormatId::q5_k;
    bits = id == FormatId::q8_0                                                   ? 8
           : id == FormatId::q6_k                                                 ? 6
           : id == FormatId::q5_0 || id == FormatId::q5_1 || id == FormatId::q5_k ? 5
           : id == FormatId::q2_0 || id == FormatId::q2_k                         ? 2
           : id == FormatId::q3_k                                                 ? 3
                                                                                  : 4;
    level_bytes = rows * 4 * bits;
  }
  std::int64_t words_at() const { return rows * (minimum ? 4 : 2); }
  std::int64_t levels_at() const { return words_at() + rows * 4 * scale_words; }
  std::int64_t bytes() const { return levels_at() + levels * level_bytes; }
};

// The 4 levels of a step are one 32-bit word. Its bytes never carry into each other here. Every
// word of the row is written once.
[[gnu::always_inline]] inline void put_levels(const Unit& u, std::int64_t row,
                                              const std::uint8_t* q, unsigned char* out) {
  const std::int64_t vector = 4 * u.rows;
  std::uint32_t step[8], high[2] = {};
  std::memcpy(step, q, sizeof step);
  const auto put = [&](int v, std::uint32_t word) {
    std::memcpy(out + 4 * row + vector * v, &word, 4);
  };
  const auto every = [](std::uint32_t byte) { return byte * 0x01010101u; };
  if (u.bits == 8) {
    for (int s = 0; s < 8; ++s) put(s, step[s]);
  } else if (u.bits <= 3) {
    for (int s = 0; s < 8; ++s) high[s / 4] |= (step[s] & every(3)) << (s % 4 * 2);
    put(0, high[0]);
    put(1, high[1]);
    if (u.bits == 2) return;
    std::uint32_t third = 0;
    for (int s = 0; s < 8; ++s) third |= (step[s] >> 2 & every(1)) << s;
    put(2, third);
  } else {
    for (int v = 0; v < 4; ++v) put(v, (step[v] & every(15)) | (step[v + 4] & every(15)) << 4);
    if (u.bits == 5) {
      for (int s = 0; s < 8; ++s) high[0] |= (step[s] >> 4 & every(1)) << s;
      put(4, high[0]);
    } else if (u.bits == 6) {
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

// Pair p of the 6-bit values: 0-3 are scales, 4-7 mins.
const std::uint8_t* pair_of(const Parts& x, int p) {
  return p < 4 ? x.scale + 2 * p : x.min + 2 * (p - 4);
}

void put_words(const Unit& u, const Parts& x, std::int64_t row, unsigned char* out) {
  std::uint32_t w[4] = {};
  if (u.raw_words) {
    for (int i = 0; i < 4 * u.scale_words; ++i)
      w[i / 4] |= static_cast<std::uint32_t>(x.scale[i]) << (i % 4 * 8);
  } else {
    for (int half = 0; half < 2; ++half) {
      const auto value = [&](int p) { return static_cast<std::uint32_t>(pair_of(x, p)[half]); };
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
  if (u.raw_words) {
    for (int i = 0; i < 4 * u.scale_words; ++i)
      x.scale[i] = static_cast<std::uint8_t>(w[i / 4] >> (i % 4 * 8));
  } else {
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
      for (int p = 0; p < 8; ++p)
        (p < 4 ? x.scale + 2 * p : x.min + 2 * (p - 4))[half] = static_cast<std::uint8_t>(value[p]);
    }
  }
}

[[gnu::always_inline]] inline void pack_rows(FormatId id, std::int64_t interleave,
                                             const unsigned char* gguf, std::int64_t row_bytes,
                                             std::int64_t n, std::int64_t cols,
                                             unsigned char* group) {
  const QuantFormat& f = info(id);
  const Unit unit(id, interleave);
  const std::int64_t unit_bytes = unit.bytes(), levels_at = unit.levels_at(),
                     block_bytes = f.block_bytes, blocks = cols / f.block;
  if (n < interleave) std::memset(group, 0, static_cast<std::size_t>(blocks * unit_bytes));
  for (std::int64_t b = 0; b < blocks; ++b) {
    unsigned char* at = group + b * unit_bytes;
    for (std::int64_t row = 0; row < n; ++row) {
      const Parts x = read_parts(id, gguf + row * row_bytes + b * block_bytes);
      std::memcpy(at + 2 * row, &x.d, 2);
      if (unit.minimum) std::memcpy(at + 2 * (unit.rows + row), &x.m, 2);
      if (unit.scale_words > 0) put_words(unit, x, row, at);
      for (int l = 0; l < unit.levels; ++l)
        put_levels(unit, row, x.q + 32 * l, at + levels_at + l * unit.level_bytes);
    }
  }
}

}  // namespace

void pack_group(FormatId id, std::int64_t interleave, const unsigned char* gguf,
                std::int64_t row_bytes, std::int64_t n, std::int64_t cols, unsigned char* group) {
  // For small blocks, a test of the format per block would take longer than the block. So these two
  // have their own loop.
  if (id == FormatId::q8_0)
    return pack_rows(FormatId::q8_0, interleave, gguf, row_bytes, n, cols, group);
  if (id == FormatId::q4_0)
    return pack_rows(FormatId::q4_0, interleave, gguf, row_bytes, n, cols, group);
  pack_rows(id, interleave, gguf, row_bytes, n, cols, group);
}

void unpack_block(FormatId id, std::int64_t interleave, const unsigned char* group,
                  std::int64_t row, std::int64_t block_index, unsigned char* gguf_block) {
  const Unit unit(id, interleave);
  const unsigned char* at = group + block_index * unit.bytes();
  Parts x;
  std::memcpy(&x.d, at + 2 * row, 2);
  if (unit.minimum) std::memcpy(&x.m, at + 2 * (unit.rows + row), 2);
  get_words(unit, row, at, x);
  for (int l = 0; l < unit.levels; ++l)
    get_levels(unit, row, at + unit.levels_at() + l * unit.level_bytes, x.q + 32 * l);
  write_parts(id, x, gguf_block);
}

}  // namespace espalier::kernels
