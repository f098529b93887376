// SPDX-License-Identifier: Apache-2.0
// Peak memory of a stage, predicted from sizes alone. `plan` prints it, and --max-ram is compared
// with it. Predictions are for the CPU and include the program itself. They aim to exceed the
// actual peak by less than a factor of two.
#pragma once
#include <cstdint>

#include "arch/arch.h"

namespace espalier::plan {

// The number of weights of the largest layer.
std::int64_t largest_layer(const arch::Arch& arch, const arch::ModelDims& dims);

// For import, prune by a given plan, and quantize by nearest rounding. These work tensor by tensor,
// on matrices in windows of rows.
std::int64_t file_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims);

// For stages that look at activations layer by layer: score, prune, calibrate, and quantize with
// calibration text. The prediction covers the float32 weights of a layer, the residual streams of
// all calibration tokens, the inner activations of one layer, and second moments.
struct LayerStage {
  std::int64_t tokens = 0;
  // Copies of the residual stream: 1 for the dense model, 2 for dense and pruned (or rounded) side
  // by side.
  int streams = 1;
  bool moments = false;  // second moments of the widest input, with room for a factorization
};
std::int64_t layer_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                                const LayerStage& stage);

// Error(unsupported) naming both numbers when `need` exceeds `limit` (0: no limit). `advice` says
// what would reduce the need.
void require_memory(std::int64_t need, std::int64_t limit, const char* advice);

}  // namespace espalier::plan
