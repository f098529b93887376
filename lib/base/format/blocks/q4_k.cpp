// SPDX-License-Identifier: Apache-2.0
// Q4_K: 256 values in 8 groups of 32, 144 bytes, 4.5 bits a value.
//
//   0        2           4                16                144
//   | d: f16 | dmin: f16 | scales: 12 bytes | qs: 128 bytes |
//
//   x[i] = (d * scale[g]) * q[i] - (dmin * min[g]),  g = i / 32, q in 0..15, scale and min in 0..63
//
//   qs: bytes 32p .. 32p+31 hold groups 2p (low halves) and 2p+1 (high halves), value by value.
//   scales, bits from high to low
//   (s = scale, m = min of a group, [hi] its upper 2 bits, [lo] its lower 4):
//     byte j     (j = 0..3):  s[j+4][hi] s[j]       (2 + 6 bits)
//     byte j + 4           :  m[j+4][hi] m[j]       (2 + 6 bits)
//     byte j + 8           :  m[j+4][lo] s[j+4][lo] (4 + 4 bits)
#include "format/blocks/affine_super.h"

namespace espalier::format {
namespace {

struct BlockQ4_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[kScales6Bytes];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockQ4_K) == 144);

using Codec = AffineSuperCodec<BlockQ4_K, 15>;

}  // namespace

// The file type is that of the "small" mix: the list has no pure K formats but Q6_K.
constinit const QuantFormat k_q4_k = block_format<Codec>({.id = FormatId::q4_k,
                                                          .name = "q4_k",
                                                          .gguf_type = 12,
                                                          .file_type = 14,
                                                          .level_bits = 4,
                                                          .scale_words = 3,
                                                          .paired_scales = true,
                                                          .grid = &Codec::kGrid});

}  // namespace espalier::format
