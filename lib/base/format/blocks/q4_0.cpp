// SPDX-License-Identifier: Apache-2.0
// Q4_0: 32 values, 18 bytes, 4.5 bits a value.
//
//   0        2                18
//   | d: f16 | qs: 16 bytes    |    byte i: value i in the low half, value i + 16 in the high half
//
//   x[i] = d * (q[i] - 8), q in 0..15
//
// Nearest: the value of largest magnitude gets q = 0, so d = that value / -8 (of either sign).
#include "format/blocks/simple.h"

namespace espalier::format {
namespace {

struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ4_0) == 18);

using Codec = SymmetricCodec<BlockQ4_0, -8>;

}  // namespace

constinit const QuantFormat k_q4_0 = block_format<Codec>({.id = FormatId::q4_0,
                                                          .name = "q4_0",
                                                          .gguf_type = 2,
                                                          .file_type = 2,
                                                          .level_bits = 4,
                                                          .grid = &Codec::kGrid});

}  // namespace espalier::format
