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
#include "format/blocks/codec.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b, out += kSuperBlock) {
    const BlockQ2_K block = load_block<BlockQ2_K>(source, b);
    const float d = core::half_to_float(block.d), dmin = core::half_to_float(block.dmin);
    std::uint8_t q[kSuperBlock];
    unpack_super_pairs(block.qs, q);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int both = block.scales[i / 16];
      const float scale = d * static_cast<float>(both & 15),
                  min = dmin * static_cast<float>(both >> 4);
      out[i] = scale * static_cast<float>(q[i]) - min;
    }
  }
}

void encode(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b) {
    const float* x = source + b * kSuperBlock;
    float weight[kSuperBlock];
    super_block_weights(x, importance == nullptr ? nullptr : importance + b * kSuperBlock, 16,
                        weight);
    const AffineSuperBlock fit = fit_affine_super_block16(x, weight, 3, 15);
    BlockQ2_K block{{}, {}, fit.d, fit.dmin};
    for (int g = 0; g < kScaledGroups; ++g)
      block.scales[g] = static_cast<std::uint8_t>(fit.scale[g] | fit.min[g] << 4);
    pack_super_pairs(fit.q, block.qs);
    store_block(block, out, b);
  }
}

}  // namespace

const QuantFormat k_q2_k = {FormatId::q2_k,    "q2_k", 10,    kSuperBlock,
                            sizeof(BlockQ2_K), decode, encode};

}  // namespace espalier::format
