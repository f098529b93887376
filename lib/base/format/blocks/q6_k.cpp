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
#include "format/blocks/codec.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b, out += kSuperBlock) {
    const BlockQ6_K block = load_block<BlockQ6_K>(source, b);
    const float d = core::half_to_float(block.d);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int h = i / 128, k = i % 128 / 32, j = i % 32;
      const int low = (block.ql[64 * h + 32 * (k % 2) + j] >> (k / 2 * 4)) & 15;
      const int high = (block.qh[32 * h + j] >> (2 * k)) & 3;
      const float scale = d * static_cast<float>(block.scales[i / 16]);
      out[i] = scale * static_cast<float>((low | high << 4) - 32);
    }
  }
}

void encode(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kSuperBlock; ++b) {
    const float* x = source + b * kSuperBlock;
    float weight[kSuperBlock];
    super_block_weights(x, importance == nullptr ? nullptr : importance + b * kSuperBlock, 16,
                        weight);
    const ScaledSuperBlock fit = fit_scaled_super_block(x, weight, kQ6_K);
    BlockQ6_K block{{}, {}, {}, fit.d};
    std::copy(fit.scale, fit.scale + kScaledGroups, block.scales);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int h = i / 128, k = i % 128 / 32, j = i % 32;
      const int q = fit.q[i] + 32;
      std::uint8_t& low = block.ql[64 * h + 32 * (k % 2) + j];
      std::uint8_t& high = block.qh[32 * h + j];
      low = static_cast<std::uint8_t>(low | (q & 15) << (k / 2 * 4));
      high = static_cast<std::uint8_t>(high | (q >> 4) << (2 * k));
    }
    store_block(block, out, b);
  }
}

}  // namespace

const QuantFormat k_q6_k = {FormatId::q6_k,    "q6_k", 14,    kSuperBlock,
                            sizeof(BlockQ6_K), decode, encode};

}  // namespace espalier::format
