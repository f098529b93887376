// SPDX-License-Identifier: Apache-2.0
// Peak memory of a stage, predicted from sizes alone: what `plan` prints and what --max-ram is
// compared with. Predictions are for the CPU and include the program itself; they are meant to be
// above what happens, by less than a factor of two.
#pragma once
#include <cstdint>

#include "arch/arch.h"

namespace espalier::plan {

// import, prune by a given plan, quantize by nearest rounding: tensor by tensor, matrices in
// windows of rows.
std::int64_t file_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims);

// Stages that look at activations, layer by layer (score, prune, calibrate, quantize with
// calibration text): float32 weights of a layer, the residual streams of all calibration tokens,
// the inner activations of one layer, and second moments.
struct LayerStage {
  std::int64_t tokens = 0;
  int streams = 1;  // copies of the residual stream: dense alone, or dense and pruned (or rounded)
                    // side by side
  bool moments = false;  // second moments of the widest input, with room for a factorization
};
std::int64_t layer_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                                const LayerStage& stage);

// Error(unsupported) naming both numbers when `need` exceeds `limit` (0: no limit). `advice`: what
// would make it smaller.
void require_memory(std::int64_t need, std::int64_t limit, const char* advice);

}  // namespace espalier::plan
