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

struct Codec {
  using Block = BlockQ5_1;

  static void decode_block(const Block& block, float* out) {
    const float d = core::half_to_float(block.d), m = core::half_to_float(block.m);
    for (int i = 0; i < kBlock32; ++i)
      out[i] = d * static_cast<float>(nibble(block.qs, i) | fifth_bit(block.qh, i) << 4) + m;
  }
  static Block with_scale(const float* x, float d, float min) {
    Block block{scale_bits(d), scale_bits(min), {}, {}};
    const float id = inverse(d);
    std::uint8_t q[kBlock32];
    for (int i = 0; i < kBlock32; ++i)
      q[i] = static_cast<std::uint8_t>(level((x[i] - min) * id + 0.5f, 31));
    pack_nibbles(q, block.qs);
    pack_fifth_bits(q, block.qh);
    return block;
  }
  static Block nearest(const float* x) {
    const auto [low, high] = std::minmax_element(x, x + kBlock32);
    return with_scale(x, (*high - *low) / 31.0f, *low);
  }
  static Block searched(const float* x, const float* weight) {
    const Affine fit = fit_affine<32>({x, weight}, 31, false);
    return with_scale(x, core::half_to_float(scale_bits(fit.scale)),
                      core::half_to_float(scale_bits(fit.min)));
  }
};

}  // namespace

const QuantFormat k_q5_1 = {
    FormatId::q5_1,      "q5_1", 7, kBlock32, sizeof(BlockQ5_1), decode_blocks<Codec>,
    encode_blocks<Codec>};

}  // namespace espalier::format
