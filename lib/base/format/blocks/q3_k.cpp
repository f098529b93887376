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
#include "format/blocks/codec.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b, out += kSuperBlock) {
    const BlockQ3_K block = load_block<BlockQ3_K>(source, b);
    const float d = core::half_to_float(block.d);
    std::uint8_t q[kSuperBlock];
    unpack_super_pairs(block.qs, q);
    std::int8_t scale[kScaledGroups];
    unpack_scales3(block.scales, scale);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int high = (block.hmask[i % 32] >> (i / 32)) & 1;
      out[i] = d * static_cast<float>(scale[i / 16]) * static_cast<float>((q[i] | high << 2) - 4);
    }
  }
}

void encode(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b) {
    const float* x = source + b * kSuperBlock;
    float weight[kSuperBlock];
    super_block_weights(x, importance == nullptr ? nullptr : importance + b * kSuperBlock, 16,
                        weight);
    const ScaledSuperBlock fit = fit_scaled_super_block(x, weight, kQ3_K);
    std::uint8_t q[kSuperBlock];
    for (int i = 0; i < kSuperBlock; ++i) q[i] = static_cast<std::uint8_t>(fit.q[i] + 4);
    store_block(pack_q3_k(fit.d, fit.scale, q), out, b);
  }
}

}  // namespace

BlockQ3_K pack_q3_k(std::uint16_t d, const std::int8_t* scale, const std::uint8_t* q) {
  BlockQ3_K block{{}, {}, {}, d};
  pack_scales3(scale, block.scales);
  pack_super_pairs(q, block.qs);
  for (int i = 0; i < kSuperBlock; ++i)
    block.hmask[i % 32] = static_cast<std::uint8_t>(block.hmask[i % 32] | (q[i] >> 2) << (i / 32));
  return block;
}

const QuantFormat k_q3_k = {FormatId::q3_k,    "q3_k", 11,    kSuperBlock,
                            sizeof(BlockQ3_K), decode, encode};

}  // namespace espalier::format
