// SPDX-License-Identifier: Apache-2.0
// Q2_0: 64 values, 18 bytes, 2.25 bits a value.
//
//   0        2                18
//   | d: f16 | qs: 16 bytes    |      byte i: values 4i .. 4i + 3, two bits each, the first lowest
//
//   x[i] = d * (q[i] - 1), q in 0..3; d may be negative.
//
// d is always the scale of least (weighted) squared error. With so few levels, a scale that spans
// the range would leave most levels unused.
#include "format/blocks/codec.h"
#include "format/blocks/fit.h"
#include "format/grid.h"
#include "format/lanes/lanes.h"

namespace espalier::format {
namespace {

struct BlockQ2_0 {
  std::uint16_t d;
  std::uint8_t qs[kBlock64 / 4];
};
static_assert(sizeof(BlockQ2_0) == 18);

constexpr int kLowest = -1, kHighest = 2;

struct Codec {
  using Block = BlockQ2_0;
  static constexpr int kValues = kBlock64;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    for (int i = 0; i < kBlock64; ++i) out.q[i] = (block.qs[i / 4] >> (i % 4 * 2)) & 3;
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .qs = {}};
    for (int i = 0; i < kBlock64 / 4; ++i) {
      const std::uint8_t* four = parts.q + 4 * i;
      block.qs[i] =
          u8((four[0] & 3) | (four[1] & 3) << 2 | (four[2] & 3) << 4 | (four[3] & 3) << 6);
    }
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    for (int i = 0; i < kBlock64; ++i) out[i] = d * static_cast<float>(parts.q[i] + kLowest);
  }
  static Block with_scale(const float* x, float scale) {
    Parts parts;
    parts.d = scale_bits(scale);
    const float id = inverse(core::half_to_float(parts.d));
    for (int i = 0; i < kBlock64; ++i)
      parts.q[i] = u8(level(x[i] * id + (0.5f - kLowest), kHighest - kLowest));
    return put_together(parts);
  }
  static Block encode_block(const float* x, const float* importance) {
    float uniform[kBlock64];
    return with_scale(
        x, fit_scale_exactly(x, usable_weights(importance, kBlock64, uniform), kBlock64));
  }
  static void encode_lanes(const float* x, const float* importance, std::byte* out);
};

Affine fit(const float* x, const float* weight) {
  return {fit_scale_exactly(x, weight, kBlock64), 0.0f};
}
constexpr Grid kGrid = {.block = kBlock64, .sub = 64, .low = kLowest, .high = kHighest, .fit = fit};

void Codec::encode_lanes(const float* x, const float* importance, std::byte* out) {
  float given[kBlock64 * kLanes], values[kBlock64 * kLanes], weight[kBlock64 * kLanes];
  for (int l = 0; l < kLanes; ++l) {
    float uniform[kBlock64];
    const float* of = importance == nullptr ? nullptr : importance + l * kBlock64;
    std::copy_n(usable_weights(of, kBlock64, uniform), kBlock64, given + l * kBlock64);
  }
  const LaneSearch& search = lane_search();
  search.interleave(x, kBlock64, kBlock64, values);
  search.interleave(given, kBlock64, kBlock64, weight);
  float step[kLanes], offset[kLanes];
  search.fit(kGrid, values, weight, step, offset);
  for (int l = 0; l < kLanes; ++l) store_block(with_scale(x + l * kBlock64, step[l]), out, l);
}

}  // namespace

constinit const QuantFormat k_q2_0 = block_format<Codec>({.id = FormatId::q2_0,
                                                          .name = "q2_0",
                                                          .gguf_type = 42,
                                                          .file_type = 41,
                                                          .level_bits = 2,
                                                          .grid = &kGrid});

}  // namespace espalier::format
