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

struct Codec {
  using Block = BlockQ5_0;

  static void decode_block(const Block& block, float* out) {
    const float d = core::half_to_float(block.d);
    for (int i = 0; i < kBlock32; ++i)
      out[i] = d * static_cast<float>((nibble(block.qs, i) | fifth_bit(block.qh, i) << 4) - 16);
  }
  static Block with_scale(const float* x, float stored, float id) {
    Block block{scale_bits(stored), {}, {}};
    std::uint8_t q[kBlock32];
    for (int i = 0; i < kBlock32; ++i)
      q[i] = static_cast<std::uint8_t>(level(x[i] * id + 16.5f, 31));
    pack_nibbles(q, block.qs);
    pack_fifth_bits(q, block.qh);
    return block;
  }
  static Block nearest(const float* x) {
    const float d = extreme(x, kBlock32) / -16.0f;
    return with_scale(x, d, inverse(d));
  }
  static Block searched(const float* x, const float* weight) {
    const float d = core::half_to_float(scale_bits(fit_scale<kBlock32>({x, weight}, -16, 15)));
    return with_scale(x, d, inverse(d));
  }
};

}  // namespace

const QuantFormat k_q5_0 = {
    FormatId::q5_0,      "q5_0", 6, kBlock32, sizeof(BlockQ5_0), decode_blocks<Codec>,
    encode_blocks<Codec>};

}  // namespace espalier::format
