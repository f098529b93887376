// SPDX-License-Identifier: Apache-2.0
// Q5_0: 32 values, 22 bytes, 5.5 bits a value.
//
//   0        2            6                22
//   | d: f16 | qh: 32 bit | qs: 16 bytes    |
//     qh bit i: fifth bit of value i; qs: the lower four bits, as in Q4_0
//
//   x[i] = d * (q[i] - 16), q in 0..31
//
// Nearest: the value of largest magnitude gets q = 0, so d = that value / -16 (of either sign).
#include "format/blocks/simple.h"

namespace espalier::format {
namespace {

struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ5_0) == 22);

using Codec = SymmetricCodec<BlockQ5_0, -16>;

}  // namespace

constinit const QuantFormat k_q5_0 = block_format<Codec>({.id = FormatId::q5_0,
                                                          .name = "q5_0",
                                                          .gguf_type = 6,
                                                          .file_type = 8,
                                                          .level_bits = 5,
                                                          .grid = &Codec::kGrid});

}  // namespace espalier::format
