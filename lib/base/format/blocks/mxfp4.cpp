// SPDX-License-Identifier: Apache-2.0
// MXFP4: 32 values, 17 bytes, 4.25 bits a value. The format of OCP Microscaling Formats (MX)
// Specification 1.0 (Open Compute Project, 2023), with levels doubled so that they are integers.
//
//   0       1                17
//   | e: u8 | qs: 16 bytes    |      byte i: q[i] in the low half, q[i + 16] in the high half
//
//   x[i] = 2^(e - 128) * level[q[i]]
//   level: twice the FP4 numbers E2M1: a sign, two bits of exponent, one bit of mantissa
//   e: the scale E8M0, an exponent alone. Above 252 some levels are infinite. 255 is NaN, which the
//      Python package gguf takes for 2^127.
//
// The specification puts the largest value of a block in [4, 8), with 6 the largest number. Here e
// is searched around that exponent for the least (weighted) squared error.
#include <bit>

#include "format/blocks/codebook.h"
#include "format/blocks/simple.h"
#include "format/grid.h"

namespace espalier::format {
namespace {

struct BlockMXFP4 {
  std::uint8_t e;
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockMXFP4) == 17);

constexpr int kLargestExponent = 252;

// 2^(e - 128). Below e = 2 it is subnormal.
float scale_of(std::uint16_t e) {
  if (e == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1u) << 23);
}
// The exponent field of a float: floor(log2 |v|) + 127 for normal numbers, 255 for infinity and
// NaN.
int exponent_field(float v) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(v) >> 23 & 255);
}

// The power of two nearest to a scale. 2^-128 for what has none.
std::uint16_t nearest_exponent(float scale) {
  if (!(scale > 0.0f)) return 0;
  const std::uint32_t half = 0x00400000u;  // carries where the mantissa is 1.5 or more
  const int field = static_cast<int>((std::bit_cast<std::uint32_t>(scale) + half) >> 23);
  return static_cast<std::uint16_t>(std::min(field + 1, kLargestExponent));
}

void choose_levels(const float* x, float scale, std::uint8_t* q) {
  const float inverse_scale = inverse(scale);
  for (int i = 0; i < kBlock32; ++i) q[i] = kFp4.index(x[i] * inverse_scale);
}

// The exponent of least weighted squared error. Among equals, that of the specification.
std::uint16_t fit_exponent(const float* x, const float* weight) {
  const int standard = std::max(0, exponent_field(extreme(x, kBlock32)) - 2);
  int best = 0;
  float least = INFINITY;
  for (const int offset : {0, 1, -1}) {
    const int e = std::clamp(standard + offset, 0, kLargestExponent);
    const float scale = scale_of(static_cast<std::uint16_t>(e));
    std::uint8_t q[kBlock32];
    choose_levels(x, scale, q);
    const float error = lane_sum<kBlock32>([&](int i) {
      const float difference = scale * static_cast<float>(kFp4.level(q[i])) - x[i];
      return weight[i] * difference * difference;
    });
    if (!(error < least)) continue;
    least = error;
    best = e;
  }
  return static_cast<std::uint16_t>(least < INFINITY ? best : std::min(standard, kLargestExponent));
}

struct Codec {
  using Block = BlockMXFP4;
  static constexpr int kValues = kBlock32;

  static void take_apart(const Block& block, Parts& out) {
    out.d = block.e;
    unpack_nibbles(block.qs, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{.e = static_cast<std::uint8_t>(parts.d), .qs = {}};
    pack_nibbles(parts.q, block.qs);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float scale = scale_of(parts.d);
    for (int i = 0; i < kBlock32; ++i) out[i] = scale * static_cast<float>(kFp4Levels[parts.q[i]]);
  }
  static Block encode_block(const float* x, const float* importance) {
    float uniform[kBlock32];
    Parts parts;
    parts.d = fit_exponent(x, usable_weights(importance, kBlock32, uniform));
    choose_levels(x, scale_of(parts.d), parts.q);
    return put_together(parts);
  }
  static void encode_lanes(const float* x, const float* importance, std::byte* out);
  static std::int64_t first_not_finite(std::span<const std::byte> bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(Block)) {
      const auto e = static_cast<int>(bytes[at]);
      if (e <= kLargestExponent) continue;
      float values[kBlock32];
      decode_block(load_block<Block>(bytes.data() + at, 0), values);
      if (!std::all_of(values, values + kBlock32, [](float v) { return std::isfinite(v); }))
        return static_cast<std::int64_t>(at / sizeof(Block)) * kBlock32;
    }
    return -1;
  }
};

Affine fit(const float* x, const float* weight) {
  return {scale_of(fit_exponent(x, weight)), 0.0f};
}
constexpr float kNearby[] = {0.5f, 2.0f};
constexpr Grid kGrid = {.block = kBlock32,
                        .sub = 32,
                        .low = -12,
                        .high = 12,
                        .codebook = &kFp4,
                        .fit = fit,
                        .scale_bits = nearest_exponent,
                        .scale_value = scale_of,
                        .nearby = kNearby};
void Codec::encode_lanes(const float* x, const float* importance, std::byte* out) {
  encode_small_blocks<Codec>(kGrid, x, importance, out);
}

}  // namespace

// No candidate of byte budgets by default: Q4_0 has less error at nearly the same size. The file
// type is that of models whose experts are MXFP4, since the list has no other.
constinit const QuantFormat k_mxfp4 = block_format<Codec>({.id = FormatId::mxfp4,
                                                           .name = "mxfp4",
                                                           .gguf_type = 39,
                                                           .file_type = 38,
                                                           .in_budget = false,
                                                           .largest = 0x1p124f,
                                                           .least = 0,
                                                           .level_bits = 4,
                                                           .grid = &kGrid});

}  // namespace espalier::format
