// SPDX-License-Identifier: Apache-2.0
// Q5_K: 256 values in 8 groups of 32, 176 bytes, 5.5 bits a value.
//
//   0        2           4                  16             48              176
//   | d: f16 | dmin: f16 | scales: 12 bytes | qh: 32 bytes | qs: 128 bytes |
//
//   x[i] = (d * scale[g]) * q[i] - (dmin * min[g]),  g = i / 32, q in 0..31, scale and min in 0..63
//
//   scales and qs (the lower four bits of q) as in Q4_K; bit g of qh[i % 32] is the fifth bit.
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[kScales6Bytes];
  std::uint8_t qh[kSuperBlock / 8];
  std::uint8_t qs[kSuperBlock / 2];
};
static_assert(sizeof(BlockQ5_K) == 176);

struct Codec {
  using Block = BlockQ5_K;
  static constexpr int kValues = kSuperBlock;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    out.m = block.dmin;
    std::memcpy(out.scales, block.scales, sizeof block.scales);
    unpack_super_nibbles(block.qs, out.q);
    for (int g = 0; g < kAffineGroups; ++g)
      for (int l = 0; l < 32; ++l)
        out.q[32 * g + l] = u8(out.q[32 * g + l] | ((block.qh[l] >> g) & 1) << 4);
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .dmin = parts.m, .scales = {}, .qh = {}, .qs = {}};
    std::memcpy(block.scales, parts.scales, sizeof block.scales);
    pack_super_nibbles(parts.q, block.qs);
    for (int i = 0; i < kSuperBlock; ++i)
      block.qh[i % 32] = u8(block.qh[i % 32] | (parts.q[i] >> 4) << (i / 32));
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    decode_scales6(parts, out);
  }
  static Parts fit(const float* x, const float* weight) {
    return parts_of(fit_affine_super_block(x, weight, 31), store_scales6);
  }
  static Block encode_block(const float* x, const float* importance) {
    return encode_super_block<Codec, 32>(x, importance);
  }
};

constexpr Grid kGrid = {.block = kSuperBlock,
                        .sub = 32,
                        .low = 0,
                        .high = 31,
                        .affine = true,
                        .super = true,
                        .scale_low = 0,
                        .scale_high = 63,
                        .fit = fit_step_and_offset<32, 31, true>,
                        .fit_super = fit_super<Codec>,
                        .store_scales = store_scales6};

}  // namespace

constinit const QuantFormat k_q5_k = block_format<Codec>({.id = FormatId::q5_k,
                                                          .name = "q5_k",
                                                          .gguf_type = 13,
                                                          .file_type = 16,
                                                          .level_bits = 5,
                                                          .scale_words = 3,
                                                          .paired_scales = true,
                                                          .grid = &kGrid});

}  // namespace espalier::format
