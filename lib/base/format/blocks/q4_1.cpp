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

struct Codec {
  using Block = BlockQ4_1;

  static void decode_block(const Block& block, float* out) {
    const float d = core::half_to_float(block.d), m = core::half_to_float(block.m);
    for (int i = 0; i < kBlock32; ++i) out[i] = d * static_cast<float>(nibble(block.qs, i)) + m;
  }
  static Block with_scale(const float* x, float d, float min) {
    Block block{scale_bits(d), scale_bits(min), {}};
    const float id = inverse(d);
    std::uint8_t q[kBlock32];
    for (int i = 0; i < kBlock32; ++i)
      q[i] = static_cast<std::uint8_t>(level((x[i] - min) * id + 0.5f, 15));
    pack_nibbles(q, block.qs);
    return block;
  }
  static Block nearest(const float* x) {
    const auto [low, high] = std::minmax_element(x, x + kBlock32);
    return with_scale(x, (*high - *low) / 15.0f, *low);
  }
  static Block searched(const float* x, const float* weight) {
    const Affine fit = fit_affine<32>({x, weight}, 15, false);
    return with_scale(x, core::half_to_float(scale_bits(fit.scale)),
                      core::half_to_float(scale_bits(fit.min)));
  }
};

}  // namespace

const QuantFormat k_q4_1 = {
    FormatId::q4_1,      "q4_1", 3, kBlock32, sizeof(BlockQ4_1), decode_blocks<Codec>,
    encode_blocks<Codec>};

}  // namespace espalier::format
