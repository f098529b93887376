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
#include "format/blocks/codec.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b, out += kSuperBlock) {
    const BlockIQ4_XS block = load_block<BlockIQ4_XS>(source, b);
    const float d = core::half_to_float(block.d);
    for (int g = 0; g < kAffineGroups; ++g) {
      const int low = (block.scales_l[g / 2] >> (g % 2 * 4)) & 15,
                high = (block.scales_h >> (2 * g)) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      for (int i = 0; i < kBlock32; ++i)
        out[g * kBlock32 + i] =
            scale * static_cast<float>(kCodebook4[nibble(block.qs + 16 * g, i)]);
    }
  }
}

void encode(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b) {
    const float* x = source + b * kSuperBlock;
    float weight[kSuperBlock];
    super_block_weights(x, importance == nullptr ? nullptr : importance + b * kSuperBlock, kBlock32,
                        weight);
    const CodebookSuperBlock fit = fit_codebook_super_block(x, weight);
    store_block(pack_iq4_xs(fit.d, fit.scale, fit.q), out, b);
  }
}

}  // namespace

BlockIQ4_XS pack_iq4_xs(std::uint16_t d, const std::int8_t* scale, const std::uint8_t* q) {
  BlockIQ4_XS block{d, 0, {}, {}};
  for (int g = 0; g < kAffineGroups; ++g) {
    const int stored = scale[g] + 32;
    block.scales_l[g / 2] =
        static_cast<std::uint8_t>(block.scales_l[g / 2] | (stored & 15) << (g % 2 * 4));
    block.scales_h = static_cast<std::uint16_t>(block.scales_h | (stored >> 4) << (2 * g));
    pack_nibbles(q + g * kBlock32, block.qs + 16 * g);
  }
  return block;
}

const QuantFormat k_iq4_xs = {FormatId::iq4_xs,    "iq4_xs", 23,    kSuperBlock,
                              sizeof(BlockIQ4_XS), decode,   encode};

}  // namespace espalier::format
