// SPDX-License-Identifier: Apache-2.0
// The encoder of the 32-value formats. It rounds each block to nearest. With importance it also
// searches a rounding, and stores the one of smaller weighted error.
//
// A Codec has: Block, decode_block(block, out[32]), nearest(x[32]) -> Block, searched(x[32],
// weight[32]) -> Block.
#pragma once
#include <cmath>

#include "format/blocks/codec.h"
#include "format/blocks/fit.h"

namespace espalier::format {

template <typename Codec>
void decode_blocks(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kBlock32; ++b)
    Codec::decode_block(load_block<typename Codec::Block>(source, b), out + b * kBlock32);
}

template <typename Codec>
double weighted_error(const typename Codec::Block& block, const float* x, const float* weight) {
  float decoded[kBlock32];
  Codec::decode_block(block, decoded);
  double sum = 0;
  for (int i = 0; i < kBlock32; ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(decoded[i]);
    sum += static_cast<double>(weight[i]) * difference * difference;
  }
  return sum;
}

template <typename Codec>
void encode_blocks(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / kBlock32; ++b) {
    const float* x = source + b * kBlock32;
    typename Codec::Block best = Codec::nearest(x);
    if (importance != nullptr) {
      float uniform[kBlock32];
      const float* weight = usable_weights(importance + b * kBlock32, kBlock32, uniform);
      const typename Codec::Block candidate = Codec::searched(x, weight);
      if (weighted_error<Codec>(candidate, x, weight) < weighted_error<Codec>(best, x, weight))
        best = candidate;
    }
    store_block(best, out, b);
  }
}

}  // namespace espalier::format
