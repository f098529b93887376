// SPDX-License-Identifier: Apache-2.0
// Q8_0: 32 values, 34 bytes, 8.5 bits a value.
//
//   0        2                                   34
//   | d: f16 | qs: 32 x int8                      |      x[i] = d * qs[i]
//
// Nearest: d = max|x| / 127, levels rounded half away from zero.
#include "format/blocks/simple.h"

namespace espalier::format {
namespace {

struct Codec {
  using Block = BlockQ8_0;

  static void decode_block(const Block& block, float* out) {
    const float d = core::half_to_float(block.d);
    for (int i = 0; i < kBlock32; ++i) out[i] = static_cast<float>(block.qs[i]) * d;
  }
  static Block with_scale(const float* x, float stored, float id) {
    Block block{scale_bits(stored), {}};
    for (int i = 0; i < kBlock32; ++i) {
      const float v = x[i] * id;
      const int magnitude = level(std::fabs(v) + 0.5f, 127);
      block.qs[i] = static_cast<std::int8_t>(v < 0.0f ? -magnitude : magnitude);
    }
    return block;
  }
  static Block nearest(const float* x) {
    const float d = std::fabs(extreme(x, kBlock32)) / 127.0f;
    return with_scale(x, d, inverse(d));
  }
  static Block searched(const float* x, const float* weight) {
    const float d = core::half_to_float(scale_bits(fit_scale<kBlock32>({x, weight}, -127, 127)));
    return with_scale(x, d, inverse(d));
  }
};

}  // namespace

const QuantFormat k_q8_0 = {
    FormatId::q8_0,      "q8_0", 8, kBlock32, sizeof(BlockQ8_0), decode_blocks<Codec>,
    encode_blocks<Codec>};

}  // namespace espalier::format
