// SPDX-License-Identifier: Apache-2.0
// Q3_K: 256 values in 16 groups of 16, 110 bytes, 3.4375 bits a value.
//
//   0                 32             96                 108      110
//   | hmask: 32 bytes | qs: 64 bytes | scales: 12 bytes | d: f16 |
//
//   x[i] = (d * (scale[i / 16] - 32)) * (q[i] - 4), q in 0..7, scale in 0..63
//
//   i = 128h + 32k + j (k = 0..3, j = 0..31):
//     the lower two bits of q are bits 2k and 2k+1 of qs[32h + j]
//     the upper bit of q is bit 4h + k of hmask[j]
//   scales, bits from high to low (s = scale, [hi] its upper 2 bits, [lo] its lower 4):
//     byte j     (j = 0..7):  s[j+8][lo] s[j][lo]                              (4 + 4 bits)
//     byte j + 8 (j = 0..3):  s[j+12][hi] s[j+8][hi] s[j+4][hi] s[j][hi]       (2 bits each)
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

struct BlockQ3_K {
  std::uint8_t hmask[kSuperBlock / 8];
  std::uint8_t qs[kSuperBlock / 4];
  std::uint8_t scales[kScales6Bytes];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

void store_scales(const std::int8_t* scale, const std::int8_t*, Parts& out) {
  std::fill(out.scales, out.scales + kScales6Bytes, std::uint8_t{0});
  for (int g = 0; g < kScaledGroups; ++g) {
    const int stored = scale[g] + 32;
    std::uint8_t &low = out.scales[g % 8], &high = out.scales[8 + g % 4];
    low = u8(low | (stored & 15) << (g / 8 * 4));
    high = u8(high | (stored >> 4) << (g / 4 * 2));
  }
}

struct Codec {
  using Block = BlockQ3_K;
  static constexpr int kValues = kSuperBlock;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    std::memcpy(out.scales, block.scales, sizeof block.scales);
    unpack_super_pairs(block.qs, out.q);
    for (int i = 0; i < kSuperBlock; ++i)
      out.q[i] = u8(out.q[i] | ((block.hmask[i % 32] >> (i / 32)) & 1) << 2);
  }
  static Block put_together(const Parts& parts) {
    Block block{.hmask = {}, .qs = {}, .scales = {}, .d = parts.d};
    std::memcpy(block.scales, parts.scales, sizeof block.scales);
    pack_super_pairs(parts.q, block.qs);
    for (int i = 0; i < kSuperBlock; ++i)
      block.hmask[i % 32] = u8(block.hmask[i % 32] | (parts.q[i] >> 2) << (i / 32));
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    for (int g = 0; g < kScaledGroups; ++g) {
      const int low = (parts.scales[g % 8] >> (g / 8 * 4)) & 15,
                high = (parts.scales[8 + g % 4] >> (g / 4 * 2)) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      for (int i = 16 * g; i < 16 * g + 16; ++i)
        out[i] = scale * static_cast<float>(parts.q[i] - 4);
    }
  }
  static Parts fit(const float* x, const float* weight) {
    return parts_of(fit_scaled_super_block(x, weight, kQ3_K), kQ3_K, store_scales);
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
                        .low = -4,
                        .high = 3,
                        .super = true,
                        .scale_low = -32,
                        .scale_high = 31,
                        .fit = fit_step<16, -4, 3>,
                        .fit_super = fit_super<Codec>,
                        .store_scales = store_scales};
const Grid& Codec::grid() { return kGrid; }

}  // namespace

constinit const QuantFormat k_q3_k = block_format<Codec>({.id = FormatId::q3_k,
                                                          .name = "q3_k",
                                                          .gguf_type = 11,
                                                          .file_type = 11,
                                                          .in_budget = false,
                                                          .level_bits = 3,
                                                          .scale_words = 3,
                                                          .grid = &kGrid});

}  // namespace espalier::format
