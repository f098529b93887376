// SPDX-License-Identifier: Apache-2.0
// Draws calibration windows as tensors.
#include "layerwise/windows.h"

namespace espalier::layerwise {

torch::Tensor draw_windows(const data::Mixture& texts, const text::CalibrationOptions& options,
                           std::int64_t vocab) {
  return torch::tensor(data::calibration_ids(texts, options, vocab)).view({-1, options.sequence});
}

}  // namespace espalier::layerwise
