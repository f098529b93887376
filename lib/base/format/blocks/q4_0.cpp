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

struct Codec {
  using Block = BlockQ4_0;

  static void decode_block(const Block& block, float* out) {
    const float d = core::half_to_float(block.d);
    for (int i = 0; i < kBlock32; ++i) out[i] = d * static_cast<float>(nibble(block.qs, i) - 8);
  }
  static Block with_scale(const float* x, float stored, float id) {
    Block block{scale_bits(stored), {}};
    std::uint8_t q[kBlock32];
    for (int i = 0; i < kBlock32; ++i)
      q[i] = static_cast<std::uint8_t>(level(x[i] * id + 8.5f, 15));
    pack_nibbles(q, block.qs);
    return block;
  }
  static Block nearest(const float* x) {
    const float d = extreme(x, kBlock32) / -8.0f;
    return with_scale(x, d, inverse(d));
  }
  static Block searched(const float* x, const float* weight) {
    const float d = core::half_to_float(scale_bits(fit_scale<kBlock32>({x, weight}, -8, 7)));
    return with_scale(x, d, inverse(d));
  }
};

}  // namespace

const QuantFormat k_q4_0 = {
    FormatId::q4_0,      "q4_0", 2, kBlock32, sizeof(BlockQ4_0), decode_blocks<Codec>,
    encode_blocks<Codec>};

}  // namespace espalier::format
