// SPDX-License-Identifier: Apache-2.0
// Q4_1: 32 values, 20 bytes, 5 bits a value.
//
//   0        2        4                20
//   | d: f16 | m: f16 | qs: 16 bytes    |
//     qs byte i: value i in the low half, value i + 16 in the high half
//
//   x[i] = d * q[i] + m, q in 0..15
//
// Nearest: m = min x, d = (max x - min x) / 15.
#include "format/blocks/simple.h"

namespace espalier::format {
namespace {

struct BlockQ4_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ4_1) == 20);

using Codec = OffsetCodec<BlockQ4_1, 15>;

}  // namespace

constinit const QuantFormat k_q4_1 = block_format<Codec>({.id = FormatId::q4_1,
                                                          .name = "q4_1",
                                                          .gguf_type = 3,
                                                          .file_type = 3,
                                                          .level_bits = 4,
                                                          .grid = &Codec::kGrid});

}  // namespace espalier::format
