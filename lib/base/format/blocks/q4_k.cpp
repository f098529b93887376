// SPDX-License-Identifier: Apache-2.0
// Q4_K: 256 values in 8 groups of 32, 144 bytes, 4.5 bits a value.
//
//   0        2           4                16                144
//   | d: f16 | dmin: f16 | scales: 12 bytes | qs: 128 bytes |
//
//   x[i] = (d * scale[g]) * q[i] - (dmin * min[g]),  g = i / 32, q in 0..15, scale and min in 0..63
//
//   qs: bytes 32p .. 32p+31 hold groups 2p (low halves) and 2p+1 (high halves), value by value.
//   scales, bits from high to low
//   (s = scale, m = min of a group, [hi] its upper 2 bits, [lo] its lower 4):
//     byte j     (j = 0..3):  s[j+4][hi] s[j]       (2 + 6 bits)
//     byte j + 4           :  m[j+4][hi] m[j]       (2 + 6 bits)
//     byte j + 8           :  m[j+4][lo] s[j+4][lo] (4 + 4 bits)
#include "format/blocks/codec.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b, out += kSuperBlock) {
    const BlockQ4_K block = load_block<BlockQ4_K>(source, b);
    const float d = core::half_to_float(block.d), dmin = core::half_to_float(block.dmin);
    std::uint8_t scale[kAffineGroups], min[kAffineGroups];
    unpack_scales6(block.scales, scale, min);
    for (int g = 0; g < kAffineGroups; ++g) {
      const float group_scale = d * static_cast<float>(scale[g]),
                  group_min = dmin * static_cast<float>(min[g]);
      for (int i = 0; i < 32; ++i) {
        const int q = (block.qs[g / 2 * 32 + i] >> (g % 2 * 4)) & 15;
        out[g * 32 + i] = group_scale * static_cast<float>(q) - group_min;
      }
    }
  }
}

void encode(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b) {
    const float* x = source + b * kSuperBlock;
    float weight[kSuperBlock];
    super_block_weights(x, importance == nullptr ? nullptr : importance + b * kSuperBlock, 32,
                        weight);
    const AffineSuperBlock fit = fit_affine_super_block(x, weight, 15);
    BlockQ4_K block{fit.d, fit.dmin, {}, {}};
    pack_scales6(fit.scale, fit.min, block.scales);
    for (int p = 0; p < kAffineGroups / 2; ++p)
      for (int i = 0; i < 32; ++i)
        block.qs[p * 32 + i] =
            static_cast<std::uint8_t>(fit.q[p * 64 + i] | fit.q[p * 64 + 32 + i] << 4);
    store_block(block, out, b);
  }
}

}  // namespace

const QuantFormat k_q4_k = {FormatId::q4_k,    "q4_k", 12,    kSuperBlock,
                            sizeof(BlockQ4_K), decode, encode};

}  // namespace espalier::format
