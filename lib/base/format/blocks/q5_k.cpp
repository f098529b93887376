// SPDX-License-Identifier: Apache-2.0
// Q5_K: 256 values in 8 groups of 32, 176 bytes, 5.5 bits a value.
//
//   0        2           4                  16             48              176
//   | d: f16 | dmin: f16 | scales: 12 bytes | qh: 32 bytes | qs: 128 bytes |
//
//   x[i] = (d * scale[g]) * q[i] - (dmin * min[g]),  g = i / 32, q in 0..31, scale and min in 0..63
//
//   scales and qs (the lower four bits of q) as in Q4_K; bit g of qh[i % 32] is the fifth bit.
#include "format/blocks/affine_super.h"

namespace espalier::format {
namespace {

struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[kScales6Bytes];
  std::uint8_t qh[kSuperBlock / 8];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockQ5_K) == 176);

using Codec = AffineSuperCodec<BlockQ5_K, 31>;

}  // namespace

constinit const QuantFormat k_q5_k = block_format<Codec>({.id = FormatId::q5_k,
                                                          .name = "q5_k",
                                                          .gguf_type = 13,
                                                          .file_type = 16,
                                                          .level_bits = 5,
                                                          .scale_words = 3,
                                                          .paired_scales = true,
                                                          .grid = &Codec::kGrid});

}  // namespace espalier::format
