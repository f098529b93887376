// SPDX-License-Identifier: Apache-2.0
// Q5_1: 32 values, 24 bytes, 6 bits a value.
//
//   0        2        4            8                24
//   | d: f16 | m: f16 | qh: 32 bit | qs: 16 bytes    |
//     qh bit i: fifth bit of value i; qs: the lower four bits, as in Q4_1
//
//   x[i] = d * q[i] + m, q in 0..31
//
// Nearest: m = min x, d = (max x - min x) / 31.
#include "format/blocks/simple.h"

namespace espalier::format {
namespace {

struct BlockQ5_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ5_1) == 24);

using Codec = OffsetCodec<BlockQ5_1, 31>;

}  // namespace

constinit const QuantFormat k_q5_1 = block_format<Codec>({.id = FormatId::q5_1,
                                                          .name = "q5_1",
                                                          .gguf_type = 7,
                                                          .file_type = 9,
                                                          .level_bits = 5,
                                                          .grid = &Codec::kGrid});

}  // namespace espalier::format
