// SPDX-License-Identifier: Apache-2.0
// Q2_0: 64 values, 18 bytes, 2.25 bits a value.
//
//   0        2                18
//   | d: f16 | qs: 16 bytes    |      byte i: values 4i .. 4i + 3, two bits each, the first lowest
//
//   x[i] = d * (q[i] - 1), q in 0..3; d may be negative.
//
// d is always the scale of least (weighted) squared error. With so few levels, a scale that spans
// the range would leave most levels unused.
#include "format/blocks/codec.h"
#include "format/blocks/fit.h"

namespace espalier::format {
namespace {

constexpr int kLowest = -1, kHighest = 2;

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kBlock64; ++b, out += kBlock64) {
    const BlockQ2_0 block = load_block<BlockQ2_0>(source, b);
    const float d = core::half_to_float(block.d);
    for (int i = 0; i < kBlock64; ++i)
      out[i] = d * static_cast<float>(bit_pair(block.qs, i) + kLowest);
  }
}

void encode(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kBlock64; ++b) {
    const float* x = source + b * kBlock64;
    float uniform[kBlock64];
    const float* weight = usable_weights(
        importance == nullptr ? nullptr : importance + b * kBlock64, kBlock64, uniform);
    BlockQ2_0 block{scale_bits(fit_scale_exactly(x, weight, kBlock64, kLowest, kHighest)), {}};
    const float id = inverse(core::half_to_float(block.d));
    std::uint8_t q[kBlock64];
    for (int i = 0; i < kBlock64; ++i)
      q[i] = static_cast<std::uint8_t>(level(x[i] * id + (0.5f - kLowest), kHighest - kLowest));
    pack_bit_pairs(q, block.qs);
    store_block(block, out, b);
  }
}

}  // namespace

const QuantFormat k_q2_0 = {FormatId::q2_0,    "q2_0", 42,    kBlock64,
                            sizeof(BlockQ2_0), decode, encode};

}  // namespace espalier::format
