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

struct BlockQ5_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockQ5_1) == 24);

struct Codec {
  using Block = BlockQ5_1;
  static constexpr int kValues = kBlock32;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    out.m = block.m;
    unpack_nibbles(block.qs, out.q);
    add_fifth_bits(block.qh, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .m = parts.m, .qh = {}, .qs = {}};
    pack_nibbles(parts.q, block.qs);
    pack_fifth_bits(parts.q, block.qh);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d), m = core::half_to_float(parts.m);
    for (int i = 0; i < kBlock32; ++i) out[i] = d * static_cast<float>(parts.q[i]) + m;
  }
  static Block with_scale(const float* x, float d, float min) {
    Parts parts;
    parts.d = scale_bits(d);
    parts.m = scale_bits(min);
    const float id = inverse(d);
    for (int i = 0; i < kBlock32; ++i) parts.q[i] = u8(level((x[i] - min) * id + 0.5f, 31));
    return put_together(parts);
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
  static Block encode_block(const float* x, const float* importance) {
    return nearest_or_searched<Codec>(x, importance);
  }
};

constexpr Grid kGrid = {.block = kBlock32,
                        .sub = 32,
                        .low = 0,
                        .high = 31,
                        .affine = true,
                        .fit = fit_step_and_offset<32, 31, false>};

}  // namespace

constinit const QuantFormat k_q5_1 = block_format<Codec>({.id = FormatId::q5_1,
                                                          .name = "q5_1",
                                                          .gguf_type = 7,
                                                          .file_type = 9,
                                                          .level_bits = 5,
                                                          .grid = &kGrid});

}  // namespace espalier::format
