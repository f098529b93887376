// SPDX-License-Identifier: Apache-2.0
// Q6_K: 256 values in 16 groups of 16, 210 bytes, 6.5625 bits a value.
//
//   0               128            192                 208      210
//   | ql: 128 bytes | qh: 64 bytes | scales: 16 x int8 | d: f16 |
//
//   x[i] = (d * scale[i / 16]) * (q[i] - 32), q in 0..63
//
//   Each half h of 128 values (i = 128h + 32k + j, k = 0..3, j = 0..31) has 64 bytes of ql
//   and 32 bytes of qh:
//     lower four bits: ql[64h + 32(k % 2) + j], low half for k < 2, high half for k >= 2
//     upper two bits:  qh[32h + j], bits 2k and 2k+1
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

struct BlockQ6_K {
  std::uint8_t ql[kSuperBlock / 2];
  std::uint8_t qh[kSuperBlock / 4];
  std::int8_t scales[kSuperBlock / 16];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

void store_scales(const std::int8_t* scale, const std::int8_t*, Parts& out) {
  std::memcpy(out.scales, scale, kScaledGroups);
}

struct Codec {
  using Block = BlockQ6_K;
  static constexpr int kValues = kSuperBlock;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    std::memcpy(out.scales, block.scales, sizeof block.scales);
    for (int g = 0; g < kAffineGroups; ++g) {  // 32 values each
      const std::uint8_t *low = block.ql + 64 * (g / 4) + 32 * (g % 2),
                         *high = block.qh + 32 * (g / 4);
      const int low_shift = g % 4 / 2 * 4, high_shift = g % 4 * 2;
      for (int l = 0; l < 32; ++l)
        out.q[32 * g + l] = u8(((low[l] >> low_shift) & 15) | ((high[l] >> high_shift) & 3) << 4);
    }
  }
  static Block put_together(const Parts& parts) {
    Block block{.ql = {}, .qh = {}, .scales = {}, .d = parts.d};
    std::memcpy(block.scales, parts.scales, sizeof block.scales);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int half = i / 128, l = i % 128;
      std::uint8_t& low = block.ql[64 * half + l % 64];
      std::uint8_t& high = block.qh[32 * half + l % 32];
      low = u8(low | (parts.q[i] & 15) << (l / 64 * 4));
      high = u8(high | (parts.q[i] >> 4) << (l / 32 * 2));
    }
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    for (int i = 0; i < kSuperBlock; ++i) {
      const float scale = d * static_cast<float>(static_cast<std::int8_t>(parts.scales[i / 16]));
      out[i] = scale * static_cast<float>(parts.q[i] - 32);
    }
  }
  static Parts fit(const float* x, const float* weight) {
    return parts_of(fit_scaled_super_block(x, weight, kQ6_K), kQ6_K, store_scales);
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
                        .low = -32,
                        .high = 31,
                        .super = true,
                        .scale_low = -128,
                        .scale_high = 127,
                        .fit = fit_step<16, -32, 31>,
                        .fit_super = fit_super<Codec>,
                        .store_scales = store_scales};
const Grid& Codec::grid() { return kGrid; }

}  // namespace

constinit const QuantFormat k_q6_k = block_format<Codec>({.id = FormatId::q6_k,
                                                          .name = "q6_k",
                                                          .gguf_type = 14,
                                                          .file_type = 18,
                                                          .level_bits = 6,
                                                          .scale_words = 4,
                                                          .grid = &kGrid});

}  // namespace espalier::format
