// SPDX-License-Identifier: Apache-2.0
// IQ4_NL: 32 values, 18 bytes, 4.5 bits a value.
//
//   0        2                18
//   | d: f16 | qs: 16 bytes    |      byte i: q[i] in the low half, q[i + 16] in the high half
//
//   x[i] = d * level[q[i]]; d may be negative
//   level: the 16 signed bytes kCodebook4 (blocks.h), closer together near 0
//
// d is always searched for the least (weighted) squared error.
#include "format/blocks/codebook.h"
#include "format/blocks/simple.h"

namespace espalier::format {
namespace {

struct BlockIQ4_NL {
  std::uint16_t d;
  std::uint8_t qs[kBlock32 / 2];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

struct Codec {
  using Block = BlockIQ4_NL;
  static constexpr int kValues = kBlock32;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    unpack_nibbles(block.qs, out.q);
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .qs = {}};
    pack_nibbles(parts.q, block.qs);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    Parts parts;
    take_apart(block, parts);
    const float d = core::half_to_float(parts.d);
    float value[16];
    for (int k = 0; k < 16; ++k) value[k] = d * static_cast<float>(kCodebook4[k]);
    for (int i = 0; i < kBlock32; ++i) out[i] = value[parts.q[i]];
  }
  static Block encode_block(const float* x, const float* importance) {
    float uniform[kBlock32];
    const float* weight = usable_weights(importance, kBlock32, uniform);
    Parts parts;
    parts.d = scale_bits(fit_codebook({x, weight}));
    const float id = inverse(core::half_to_float(parts.d));
    for (int i = 0; i < kBlock32; ++i) parts.q[i] = kIq4.index(x[i] * id);
    return put_together(parts);
  }
  static void encode_lanes(const float* x, const float* importance, std::byte* out);
};

Affine fit(const float* x, const float* weight) { return {fit_codebook({x, weight}), 0.0f}; }
constexpr Grid kGrid = {
    .block = kBlock32, .sub = 32, .low = -127, .high = 113, .codebook = &kIq4, .fit = fit};
void Codec::encode_lanes(const float* x, const float* importance, std::byte* out) {
  encode_small_blocks<Codec>(kGrid, x, importance, out);
}

}  // namespace

constinit const QuantFormat k_iq4_nl = block_format<Codec>({.id = FormatId::iq4_nl,
                                                            .name = "iq4_nl",
                                                            .gguf_type = 20,
                                                            .file_type = 25,
                                                            .in_budget = false,
                                                            .level_bits = 4,
                                                            .grid = &kGrid});

}  // namespace espalier::format
