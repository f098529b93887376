// SPDX-License-Identifier: Apache-2.0
// Q2_K: 256 values in 16 groups of 16, 84 bytes, 2.625 bits a value.
//
//   0                  16              80       82          84
//   | scales: 16 bytes | qs: 64 bytes  | d: f16 | dmin: f16 |
//
//   x[i] = (d * scale[g]) * q[i] - (dmin * min[g]),  g = i / 16, q in 0..3, scale and min in 0..15
//
//   scales: byte g = scale[g] in the low half, min[g] in the high half.
//   qs: i = 128h + 32k + j (k = 0..3, j = 0..31) is bits 2k and 2k+1 of byte 32h + j.
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

struct BlockQ2_K {
  std::uint8_t scales[kSuperBlock / 16];
  std::uint8_t qs[kSuperBlock / 4];
  std::uint16_t d;
  std::uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

void store_scales(const std::int8_t* scale, const std::int8_t* min, Parts& out) {
  for (int g = 0; g < kScaledGroups; ++g) out.scales[g] = u8(scale[g] | min[g] << 4);
}

struct Codec {
  using Block = BlockQ2_K;
  static constexpr int kValues = kSuperBlock;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    out.m = block.dmin;
    std::memcpy(out.scales, block.scales, sizeof block.scales);
    unpack_super_pairs(block.qs, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{.scales = {}, .qs = {}, .d = parts.d, .dmin = parts.m};
    std::memcpy(block.scales, parts.scales, sizeof block.scales);
    pack_super_pairs(parts.q, block.qs);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d), dmin = core::half_to_float(parts.m);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int both = parts.scales[i / 16];
      const float scale = d * static_cast<float>(both & 15),
                  min = dmin * static_cast<float>(both >> 4);
      out[i] = scale * static_cast<float>(parts.q[i]) - min;
    }
  }
  static Parts fit(const float* x, const float* weight) {
    return parts_of(fit_affine_super_block16(x, weight, 3, 15), store_scales);
  }
  static Block encode_block(const float* x, const float* importance) {
    return encode_super_block<Codec, 16>(x, importance);
  }
  static const Grid& grid();
  static void encode_lanes(const float* x, const float* importance, std::byte* out) {
    encode_super_blocks<Codec>(x, importance, out);
  }
};

constexpr Grid kGrid = {.block = kSuperBlock,
                        .sub = 16,
                        .low = 0,
                        .high = 3,
                        .affine = true,
                        .super = true,
                        .scale_low = 0,
                        .scale_high = 15,
                        .fit = fit_step_and_offset<16, 3, true>,
                        .fit_super = fit_super<Codec>,
                        .store_scales = store_scales};
const Grid& Codec::grid() { return kGrid; }

}  // namespace

constinit const QuantFormat k_q2_k = block_format<Codec>({.id = FormatId::q2_k,
                                                          .name = "q2_k",
                                                          .gguf_type = 10,
                                                          .file_type = 10,
                                                          .in_budget = false,
                                                          .level_bits = 2,
                                                          .scale_words = 4,
                                                          .grid = &kGrid});

}  // namespace espalier::format
