// SPDX-License-Identifier: Apache-2.0
// Q5_K: 256 values in 8 groups of 32, 176 bytes, 5.5 bits a value.
//
//   0        2           4                  16             48              176
//   | d: f16 | dmin: f16 | scales: 12 bytes | qh: 32 bytes | qs: 128 bytes |
//
//   x[i] = (d * scale[g]) * q[i] - (dmin * min[g]),  g = i / 32, q in 0..31, scale and min in 0..63
//
//   scales and qs (the lower four bits of q) as in Q4_K; bit g of qh[i % 32] is the fifth bit.
#include "format/blocks/codec.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b, out += kSuperBlock) {
    const BlockQ5_K block = load_block<BlockQ5_K>(source, b);
    const float d = core::half_to_float(block.d), dmin = core::half_to_float(block.dmin);
    std::uint8_t scale[kAffineGroups], min[kAffineGroups];
    unpack_scales6(block.scales, scale, min);
    for (int g = 0; g < kAffineGroups; ++g) {
      const float group_scale = d * static_cast<float>(scale[g]),
                  group_min = dmin * static_cast<float>(min[g]);
      for (int i = 0; i < 32; ++i) {
        const int q = ((block.qs[g / 2 * 32 + i] >> (g % 2 * 4)) & 15) | ((block.qh[i] >> g) & 1)
                                                                             << 4;
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
    const AffineSuperBlock fit = fit_affine_super_block(x, weight, 31);
    BlockQ5_K block{fit.d, fit.dmin, {}, {}, {}};
    pack_scales6(fit.scale, fit.min, block.scales);
    for (int g = 0; g < kAffineGroups; ++g)
      for (int i = 0; i < 32; ++i) {
        const int q = fit.q[g * 32 + i];
        std::uint8_t& low = block.qs[g / 2 * 32 + i];
        low = static_cast<std::uint8_t>(low | (q & 15) << (g % 2 * 4));
        block.qh[i] = static_cast<std::uint8_t>(block.qh[i] | (q >> 4) << g);
      }
    store_block(block, out, b);
  }
}

}  // namespace

const QuantFormat k_q5_k = {FormatId::q5_k,    "q5_k", 13,    kSuperBlock,
                            sizeof(BlockQ5_K), decode, encode};

}  // namespace espalier::format
