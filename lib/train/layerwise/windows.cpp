// SPDX-License-Identifier: Apache-2.0
// Draws calibration windows as tensors.
#include "layerwise/windows.h"

#include <utility>

#include "layerwise/saved.h"
#include "model/precision.h"

namespace espalier::layerwise {

torch::Tensor draw_windows(const data::Mixture& texts, const text::CalibrationOptions& options,
                           std::int64_t vocab) {
  return torch::tensor(data::calibration_ids(texts, options, vocab)).view({-1, options.sequence});
}

model::Transformer open_for(const checkpoint::Checkpoint& source,
                            const text::CalibrationOptions& options) {
  return model::Transformer::open(source, {.matmul_dtype = model::matmul_dtype(options.precision)});
}

std::string identity_of(nlohmann::json run, const torch::Tensor& ids,
                        const text::CalibrationOptions& options) {
  run["batch"] = options.batch_tokens;
  run["precision"] = model::matmul_precision(options.precision);
  return identity_of(std::as_const(run), ids);
}

}  // namespace espalier::layerwise
