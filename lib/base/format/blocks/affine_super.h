// SPDX-License-Identifier: Apache-2.0
// Q4_K and Q5_K, which differ in their levels alone: 0..kHighest in 4 bits, or with a fifth in the
// Block's qh. Bit g of qh[i % 32] is that of value i in group g = i / 32. q4_k.cpp draws the rest.
#pragma once
#include "format/blocks/super_block.h"

namespace espalier::format {

// Grid::store_scales.
inline void store_scales6(const std::int8_t* scale, const std::int8_t* min, Parts& out) {
  pack_scales6(scale, min, out.scales);
}

template <typename AnyBlock, int kHighestLevel>
struct AffineSuperCodec {
  using Block = AnyBlock;
  static constexpr int kValues = kSuperBlock, kHighest = kHighestLevel;
  static constexpr Grid kGrid = {.block = kSuperBlock,
                                 .sub = 32,
                                 .low = 0,
                                 .high = kHighest,
                                 .affine = true,
                                 .super = true,
                                 .scale_low = 0,
                                 .scale_high = 63,
                                 .fit = fit_step_and_offset<32, kHighest, true>,
                                 .fit_super = fit_super<AffineSuperCodec>,
                                 .store_scales = store_scales6};
  static const Grid& grid() { return kGrid; }

  static void take_apart(const Block& block, Parts& __restrict out) {
    std::memcpy(out.scales, block.scales, sizeof block.scales);
    out.d = block.d;
    out.m = block.dmin;
    unpack_super_nibbles(block.qs, out.q);
    if constexpr (requires { block.qh; })
      for (int g = 0; g < kAffineGroups; ++g)
        for (int l = 0; l < 32; ++l)
          out.q[32 * g + l] = u8(out.q[32 * g + l] | ((block.qh[l] >> g) & 1) << 4);
  }
  static Block put_together(const Parts& parts) {
    Block block{};
    block.d = parts.d;
    block.dmin = parts.m;
    std::memcpy(block.scales, parts.scales, sizeof block.scales);
    pack_super_nibbles(parts.q, block.qs);
    if constexpr (requires { block.qh; })
      for (int i = 0; i < kSuperBlock; ++i)
        block.qh[i % 32] = u8(block.qh[i % 32] | (parts.q[i] >> 4) << (i / 32));
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d), dmin = core::half_to_float(parts.m);
    std::int8_t scale[kAffineGroups], min[kAffineGroups];
    unpack_scales6(parts.scales, scale, min);
    for (int g = 0; g < kAffineGroups; ++g) {
      const float group_scale = d * static_cast<float>(scale[g]),
                  group_min = dmin * static_cast<float>(min[g]);
      for (int i = 32 * g; i < 32 * g + 32; ++i)
        out[i] = group_scale * static_cast<float>(parts.q[i]) - group_min;
    }
  }
  static Parts fit(const float* x, const float* weight) {
    return parts_of(fit_affine_super_block(x, weight, kHighest), store_scales6);
  }
  static Block encode_block(const float* x, const float* importance) {
    return encode_super_block<AffineSuperCodec, 32>(x, importance);
  }
  static void encode_lanes(const float* x, const float* importance, std::byte* out) {
    encode_super_blocks<AffineSuperCodec>(x, importance, out);
  }
};

}  // namespace espalier::format
