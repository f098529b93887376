// SPDX-License-Identifier: Apache-2.0
// The work of stages, from their forecasts: what timing/stages.h needs to know. Only where the
// training side is built.
#pragma once
#include "model/precision.h"
#include "stages/forecast.h"
#include "timing/stages.h"

namespace espalier::stages {

inline timing::Stored stored(const Shape& shape) {
  return {{shape.arch, shape.dims}, shape.format};
}
// Windows no longer than the context, as stages read them.
inline timing::Text text_of(const text::CalibrationOptions& o, const Shape& shape) {
  return {o.tokens, std::min(o.sequence, shape.dims.positions), o.batch_tokens,
          model::matmul_precision(o.precision) == "bfloat16"};
}
}  // namespace espalier::stages
