// SPDX-License-Identifier: Apache-2.0
// The calibration windows of texts, as a walk reads them.
#pragma once
#include <torch/types.h>

#include "data/mixture.h"

namespace espalier::layerwise {

// int64 [n, sequence]: whole windows drawn with the seed. Error for a text shorter than a window,
// or tokenized for another model.
torch::Tensor draw_windows(const data::Mixture& texts, const text::CalibrationOptions& options,
                           std::int64_t vocab);

}  // namespace espalier::layerwise
