// SPDX-License-Identifier: Apache-2.0
// IQ4_XS: 256 values in 8 groups of 32, 136 bytes, 4.25 bits a value.
//
//   0        2               4                 8               136
//   | d: f16 | scales_h: u16 | scales_l: 4 bytes | qs: 128 bytes |
//
//   x[i] = (d * (scale[g] - 32)) * level[q[i]],  g = i / 32, scale in 0..63
//   level: kCodebook4 as in IQ4_NL
//
//   scale[g]: its lower four bits are half g % 2 of scales_l[g / 2] (0: low),
//             its upper two bits are bits 2g and 2g+1 of scales_h
//   qs: bytes 16g .. 16g+15 hold group g, laid out like the block of IQ4_NL
#include "format/blocks/codebook.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

struct BlockIQ4_XS {
  std::uint16_t d;
  std::uint16_t scales_h;
  std::uint8_t scales_l[kSuperBlock / 64];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

void store_scales(const std::int8_t* scale, const std::int8_t*, Parts& out) {
  out.m = 0;
  std::fill(out.scales, out.scales + 4, std::uint8_t{0});
  for (int g = 0; g < kAffineGroups; ++g) {
    const int stored = scale[g] + 32;
    out.scales[g / 2] = u8(out.scales[g / 2] | (stored & 15) << (g % 2 * 4));
    out.m = static_cast<std::uint16_t>(out.m | (stored >> 4) << (2 * g));
  }
}

struct Codec {
  using Block = BlockIQ4_XS;
  static constexpr int kValues = kSuperBlock;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    out.m = block.scales_h;
    std::memcpy(out.scales, block.scales_l, sizeof block.scales_l);
    for (int g = 0; g < kAffineGroups; ++g) unpack_nibbles(block.qs + 16 * g, out.q + 32 * g);
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .scales_h = parts.m, .scales_l = {}, .qs = {}};
    std::memcpy(block.scales_l, parts.scales, sizeof block.scales_l);
    for (int g = 0; g < kAffineGroups; ++g) pack_nibbles(parts.q + 32 * g, block.qs + 16 * g);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    for (int g = 0; g < kAffineGroups; ++g) {
      const int low = (parts.scales[g / 2] >> (g % 2 * 4)) & 15, high = (parts.m >> (2 * g)) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      float value[16];
      for (int k = 0; k < 16; ++k) value[k] = scale * static_cast<float>(kCodebook4[k]);
      for (int i = 32 * g; i < 32 * g + 32; ++i) out[i] = value[parts.q[i]];
    }
  }
  static Parts fit(const float* x, const float* weight) {
    const CodebookSuperBlock fit = fit_codebook_super_block(x, weight);
    Parts parts;
    parts.d = fit.d;
    store_scales(fit.scale, nullptr, parts);
    std::copy(fit.q, fit.q + kSuperBlock, parts.q);
    return parts;
  }
  static Block encode_block(const float* x, const float* importance) {
    return encode_super_block<Codec, kBlock32>(x, importance);
  }
  static const Grid& grid();
  static void encode_lanes(const float* x, const float* importance, std::byte* out) {
    encode_super_blocks<Codec>(x, importance, out);
  }
};

Affine fit(const float* x, const float* weight) { return {fit_codebook({x, weight}), 0.0f}; }
constexpr Grid kGrid = {.block = kSuperBlock,
                        .sub = 32,
                        .low = -127,
                        .high = 113,
                        .super = true,
                        .scale_low = -32,
                        .scale_high = 31,
                        .codebook = &kIq4,
                        .fit = fit,
                        .fit_super = fit_super<Codec>,
                        .store_scales = store_scales};
const Grid& Codec::grid() { return kGrid; }

}  // namespace

constinit const QuantFormat k_iq4_xs = block_format<Codec>({.id = FormatId::iq4_xs,
                                                            .name = "iq4_xs",
                                                            .gguf_type = 23,
                                                            .file_type = 30,
                                                            .in_budget = false,
                                                            .level_bits = 4,
                                                            .scale_words = 1,
                                                            .grid = &kGrid});

}  // namespace espalier::format
