// SPDX-License-Identifier: Apache-2.0
// What it costs to round one matrix alone, measured with one format for each matrix. A budget
// (export/budget.h) takes the errors of other formats to be in proportion.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "arch/role.h"
#include "format/quant_format.h"

namespace espalier::quant {

struct MeasuredError {
  format::FormatId format;
  double error;  // in the same unit for all matrices
};
using MeasuredErrors = std::map<std::pair<arch::Role, int>, MeasuredError>;

// How errors of layers are measured (calibrate/layer_errors.h): the tokens that are read at most,
// and how many matrices are followed to the logits at most.
inline constexpr std::int64_t kLayerErrorTokens = 512;
inline constexpr std::size_t kFollowedMatrices = 24;

}  // namespace espalier::quant
