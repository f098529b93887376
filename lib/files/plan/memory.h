// SPDX-License-Identifier: Apache-2.0
// Peak memory of a stage, predicted from sizes alone. `plan` prints it, and --max-ram is compared
// with it. Predictions are for the CPU and include the program itself. The constants were fitted to
// measured peaks (docs/scale.md).
#pragma once
#include <cstdint>
#include <functional>

#include "arch/arch.h"
#include "text/calibration.h"

namespace espalier::plan {

// The number of weights of the largest layer.
std::int64_t largest_layer(const arch::Arch& arch, const arch::ModelDims& dims);

// For import, prune by a given plan, and quantize by nearest rounding. These work tensor by tensor,
// on matrices in windows of rows.
std::int64_t file_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims);

// For stages that look at activations layer by layer: score, prune, calibrate, cache, and quantize
// with calibration text. The prediction covers the float32 weights of a layer, the residual streams
// of all tokens, one forward of a batch, and second moments.
struct LayerStage {
  std::int64_t tokens = 0;                         // of the text
  std::int64_t batch_tokens = text::kBatchTokens;  // that go through the layer at a time
  bool sums = true;                                // of activations are collected
  bool gram = false;  // second moments of all that the matrices of a layer read
  // An edited model follows the exact one: its stream, the inner activations of one block for all
  // tokens, and least squares.
  bool follows = false;
  int streams = 0;        // further copies of the residual stream
  std::int64_t more = 0;  // what else is held
};
std::int64_t layer_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                                const LayerStage& stage);
// Second moments of all layers, as an importance matrix keeps them: 4 bytes each.
std::int64_t gram_bytes(const arch::Arch& arch, const arch::ModelDims& dims);
// The tokens of one forward: as many windows of `sequence` as keep `need(tokens)` below `limit` (0:
// no limit), at least one, at most text::kBatchTokens. Error(unsupported) where one is too much.
std::int64_t batch_within(std::int64_t limit, std::int64_t sequence, const char* advice,
                          const std::function<std::int64_t(std::int64_t)>& need);

// Error(unsupported) naming both numbers when `need` exceeds `limit` (0: no limit). `advice` says
// what would reduce the need.
void require_memory(std::int64_t need, std::int64_t limit, const char* advice);

}  // namespace espalier::plan
