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
#include "format/blocks/codec.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kBlock32; ++b, out += kBlock32) {
    const BlockIQ4_NL block = load_block<BlockIQ4_NL>(source, b);
    const float d = core::half_to_float(block.d);
    for (int i = 0; i < kBlock32; ++i)
      out[i] = d * static_cast<float>(kCodebook4[nibble(block.qs, i)]);
  }
}

void encode(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kBlock32; ++b) {
    const float* x = source + b * kBlock32;
    float uniform[kBlock32];
    const float* weight = usable_weights(
        importance == nullptr ? nullptr : importance + b * kBlock32, kBlock32, uniform);
    BlockIQ4_NL block{scale_bits(fit_codebook({x, weight})), {}};
    const float id = inverse(core::half_to_float(block.d));
    std::uint8_t q[kBlock32];
    for (int i = 0; i < kBlock32; ++i) q[i] = codebook_index(x[i] * id);
    pack_nibbles(q, block.qs);
    store_block(block, out, b);
  }
}

}  // namespace

const QuantFormat k_iq4_nl = {FormatId::iq4_nl,    "iq4_nl", 20,    kBlock32,
                              sizeof(BlockIQ4_NL), decode,   encode};

}  // namespace espalier::format
