// SPDX-License-Identifier: Apache-2.0
// The packed blocks of every format, as they lie in a GGUF file (little-endian). Plain data only,
// so that ISA objects may include this file.
//
// `d`, `m` and `dmin` are IEEE binary16 bits. The head of blocks/<format>.cpp draws how the bits of
// a block are numbered. F32, F16 and BF16 are plain arrays of 4- and 2-byte values and have no
// struct.
#pragma once
#include <cstddef>
#include <cstdint>

namespace espalier::format {

constexpr int kBlock32 = 32;      // values in a block of Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 IQ4_NL
constexpr int kBlock64 = 64;      // values in a block of Q2_0
constexpr int kSuperBlock = 256;  // values in a block of Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS
// Bytes that hold 8 scales and 8 mins of 6 bits in Q4_K and Q5_K, or 16 scales of 6 bits in Q3_K.
constexpr int kScales6Bytes = 12;

// The levels of IQ4_NL and IQ4_XS, ascending.
constexpr std::int8_t kCodebook4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t qs[kBlock32];
};
static_assert(sizeof(BlockQ8_0) == 34);

struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ5_0) == 22);

struct BlockQ5_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ5_1) == 24);

struct BlockQ2_0 {
  std::uint16_t d;
  std::uint8_t qs[kBlock64 / 4];
};
static_assert(sizeof(BlockQ2_0) == 18);

struct BlockIQ4_NL {
  std::uint16_t d;
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

struct BlockQ2_K {
  std::uint8_t scales[kSuperBlock / 16];
  std::uint8_t qs[kSuperBlock / 4];
  std::uint16_t d;
  std::uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

struct BlockQ3_K {
  std::uint8_t hmask[kSuperBlock / 8];
  std::uint8_t qs[kSuperBlock / 4];
  std::uint8_t scales[kScales6Bytes];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

struct BlockQ4_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[kScales6Bytes];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockQ4_K) == 144);

struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[kScales6Bytes];
  std::uint8_t qh[kSuperBlock / 8];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockQ5_K) == 176);

struct BlockQ6_K {
  std::uint8_t ql[kSuperBlock / 2];
  std::uint8_t qh[kSuperBlock / 4];
  std::int8_t scales[kSuperBlock / 16];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

struct BlockIQ4_XS {
  std::uint16_t d;
  std::uint16_t scales_h;
  std::uint8_t scales_l[kSuperBlock / 64];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

}  // namespace espalier::format
