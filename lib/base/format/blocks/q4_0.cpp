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

struct Codec {
  using Block = BlockQ4_0;
  static constexpr int kValues = kBlock32;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    unpack_nibbles(block.qs, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .qs = {}};
    pack_nibbles(parts.q, block.qs);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    for (int i = 0; i < kBlock32; ++i) out[i] = d * static_cast<float>(parts.q[i] - 8);
  }
  static Block with_scale(const float* x, float stored, float id) {
    Parts parts;
    parts.d = scale_bits(stored);
    for (int i = 0; i < kBlock32; ++i) parts.q[i] = u8(level(x[i] * id + 8.5f, 15));
    return put_together(parts);
  }
  static Block nearest(const float* x) {
    const float d = extreme(x, kBlock32) / -8.0f;
    return with_scale(x, d, inverse(d));
  }
  static Block searched(const float* x, const float* weight) {
    const float d = core::half_to_float(scale_bits(fit_scale<kBlock32>({x, weight}, -8, 7)));
    return with_scale(x, d, inverse(d));
  }
  static Block encode_block(const float* x, const float* importance) {
    return nearest_or_searched<Codec>(x, importance);
  }
};

constexpr Grid kGrid = {
    .block = kBlock32, .sub = 32, .low = -8, .high = 7, .fit = fit_step<32, -8, 7>};

}  // namespace

constinit const QuantFormat k_q4_0 = block_format<Codec>({.id = FormatId::q4_0,
                                                          .name = "q4_0",
                                                          .gguf_type = 2,
                                                          .file_type = 2,
                                                          .level_bits = 4,
                                                          .grid = &kGrid});

}  // namespace espalier::format
