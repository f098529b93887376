// SPDX-License-Identifier: Apache-2.0
// The encoder of the 32-value formats with evenly spaced levels. It rounds a block to nearest. With
// importance it also searches a rounding, and takes the one of smaller weighted error.
//
// Besides what codec.h asks for, the Codec has nearest(x[32]) -> Block, and searched(x[32],
// weight[32]) -> Block.
#pragma once
#include "format/blocks/codec.h"
#include "format/blocks/fit.h"
#include "format/grid.h"

namespace espalier::format {

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
typename Codec::Block nearest_or_searched(const float* x, const float* importance) {
  typename Codec::Block best = Codec::nearest(x);
  if (importance == nullptr) return best;
  float uniform[kBlock32];
  const float* weight = usable_weights(importance, kBlock32, uniform);
  const typename Codec::Block candidate = Codec::searched(x, weight);
  return weighted_error<Codec>(candidate, x, weight) < weighted_error<Codec>(best, x, weight)
             ? candidate
             : best;
}

}  // namespace espalier::format
