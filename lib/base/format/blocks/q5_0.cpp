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

struct Codec {
  using Block = BlockQ5_0;
  static constexpr int kValues = kBlock32;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    unpack_nibbles(block.qs, out.q);
    add_fifth_bits(block.qh, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .qh = {}, .qs = {}};
    pack_nibbles(parts.q, block.qs);
    pack_fifth_bits(parts.q, block.qh);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    for (int i = 0; i < kBlock32; ++i) out[i] = d * static_cast<float>(parts.q[i] - 16);
  }
  static Block with_scale(const float* x, float stored, float id) {
    Parts parts;
    parts.d = scale_bits(stored);
    for (int i = 0; i < kBlock32; ++i) parts.q[i] = u8(level(x[i] * id + 16.5f, 31));
    return put_together(parts);
  }
  static Block nearest(const float* x) {
    const float d = extreme(x, kBlock32) / -16.0f;
    return with_scale(x, d, inverse(d));
  }
  static Block searched(const float* x, const float* weight) {
    const float d = core::half_to_float(scale_bits(fit_scale<kBlock32>({x, weight}, -16, 15)));
    return with_scale(x, d, inverse(d));
  }
  static Block encode_block(const float* x, const float* importance) {
    return nearest_or_searched<Codec>(x, importance);
  }
};

constexpr Grid kGrid = {
    .block = kBlock32, .sub = 32, .low = -16, .high = 15, .fit = fit_step<32, -16, 15>};

}  // namespace

constinit const QuantFormat k_q5_0 = block_format<Codec>({.id = FormatId::q5_0,
                                                          .name = "q5_0",
                                                          .gguf_type = 6,
                                                          .file_type = 8,
                                                          .level_bits = 5,
                                                          .grid = &kGrid});

}  // namespace espalier::format
