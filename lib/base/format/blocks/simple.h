// SPDX-License-Identifier: Apache-2.0
// The encoder of the 32-value formats with evenly spaced levels. It rounds a block to nearest. With
// importance it also searches a rounding, and takes the one of smaller weighted error.
//
// Besides what codec.h asks for, the Codec has nearest(x[32]) -> Block, and searched(x[32],
// weight[32]) -> Block. The Codecs of the formats with 4 or 5 bits are here too.
#pragma once
#include "format/blocks/codec.h"
#include "format/blocks/fit.h"
#include "format/grid.h"
#include "format/lanes/lanes.h"

namespace espalier::format {

template <typename Codec>
double weighted_error(const typename Codec::Block& block, const float* x, const float* weight) {
  float decoded[kBlock32];
  Codec::decode_block(block, decoded);
  double sum = 0;
  for (int i = 0; i < kBlock32; ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(decoded[i]);
    sum += static_cast<double>(weight[i]) * difference * difference;
  }
  return sum;
}

template <typename Codec>
typename Codec::Block nearest_or_searched(const float* x, const float* importance) {
  typename Codec::Block best = Codec::nearest(x);
  if (importance == nullptr) return best;
  float uniform[kBlock32];
  const float* weight = usable_weights(importance, kBlock32, uniform);
  const typename Codec::Block candidate = Codec::searched(x, weight);
  return weighted_error<Codec>(candidate, x, weight) < weighted_error<Codec>(best, x, weight)
             ? candidate
             : best;
}

// The encoder of kLanes blocks of 32 values (codec.h).
template <typename Codec>
void encode_small_blocks(const Grid& grid, const float* x, const float* importance,
                         std::byte* out) {
  SmallLanes rounded;
  encode_small_lanes(grid, x, importance, rounded);
  for (int lane = 0; lane < kLanes; ++lane) {
    Parts parts;
    parts.d = rounded.d[lane];
    parts.m = rounded.m[lane];
    std::copy(rounded.q[lane], rounded.q[lane] + kBlock32, parts.q);
    store_block(Codec::put_together(parts), out, lane);
  }
}

// x[i] = d * (q[i] + kLow), q in 0..-2 kLow - 1. Q4_0 and Q5_0, whose Block has d, qs, and qh for
// the fifth bits.
//
// Nearest: the value of largest magnitude gets q = 0, so d = that value / kLow (of either sign).
template <typename AnyBlock, int kLow>
struct SymmetricCodec {
  using Block = AnyBlock;
  static constexpr int kValues = kBlock32, kHighest = -2 * kLow - 1;
  static constexpr Grid kGrid = {.block = kBlock32,
                                 .sub = 32,
                                 .low = kLow,
                                 .high = -kLow - 1,
                                 .fit = fit_step<32, kLow, -kLow - 1>};

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    unpack_levels(block, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{};
    block.d = parts.d;
    pack_levels(parts.q, block);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    for (int i = 0; i < kBlock32; ++i) out[i] = d * static_cast<float>(parts.q[i] + kLow);
  }
  static Block with_scale(const float* x, float stored, float id) {
    Parts parts;
    parts.d = scale_bits(stored);
    for (int i = 0; i < kBlock32; ++i) parts.q[i] = u8(level(x[i] * id + (0.5f - kLow), kHighest));
    return put_together(parts);
  }
  static Block nearest(const float* x) {
    const float d = extreme(x, kBlock32) / static_cast<float>(kLow);
    return with_scale(x, d, inverse(d));
  }
  static Block searched(const float* x, const float* weight) {
    const float d =
        core::half_to_float(scale_bits(fit_scale<kBlock32>({x, weight}, kLow, -kLow - 1)));
    return with_scale(x, d, inverse(d));
  }
  static Block encode_block(const float* x, const float* importance) {
    return nearest_or_searched<SymmetricCodec>(x, importance);
  }
  static void encode_lanes(const float* x, const float* importance, std::byte* out) {
    encode_small_blocks<SymmetricCodec>(kGrid, x, importance, out);
  }
};

// x[i] = d * q[i] + m, q in 0..kHighest. Q4_1 and Q5_1, whose Block has m too.
//
// Nearest: m = min x, d = (max x - min x) / kHighest.
template <typename AnyBlock, int kHighest>
struct OffsetCodec {
  using Block = AnyBlock;
  static constexpr int kValues = kBlock32;
  static constexpr Grid kGrid = {.block = kBlock32,
                                 .sub = 32,
                                 .low = 0,
                                 .high = kHighest,
                                 .affine = true,
                                 .fit = fit_step_and_offset<32, kHighest, false>};

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    out.m = block.m;
    unpack_levels(block, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{};
    block.d = parts.d;
    block.m = parts.m;
    pack_levels(parts.q, block);
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
    for (int i = 0; i < kBlock32; ++i) parts.q[i] = u8(level((x[i] - min) * id + 0.5f, kHighest));
    return put_together(parts);
  }
  static Block nearest(const float* x) {
    const auto [low, high] = std::minmax_element(x, x + kBlock32);
    return with_scale(x, (*high - *low) / static_cast<float>(kHighest), *low);
  }
  static Block searched(const float* x, const float* weight) {
    const Affine fit = fit_affine<32>({x, weight}, kHighest, false);
    return with_scale(x, core::half_to_float(scale_bits(fit.scale)),
                      core::half_to_float(scale_bits(fit.min)));
  }
  static Block encode_block(const float* x, const float* importance) {
    return nearest_or_searched<OffsetCodec>(x, importance);
  }
  static void encode_lanes(const float* x, const float* importance, std::byte* out) {
    encode_small_blocks<OffsetCodec>(kGrid, x, importance, out);
  }
};

}  // namespace espalier::format
