// SPDX-License-Identifier: Apache-2.0
// The calibration windows of texts, and how a walk reads them.
#pragma once
#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "data/mixture.h"
#include "model/transformer.h"

namespace espalier::layerwise {

// int64 [n, sequence]: whole windows drawn with the seed. Error for a text shorter than a window,
// or tokenized for another model.
torch::Tensor draw_windows(const data::Mixture& texts, const text::CalibrationOptions& options,
                           std::int64_t vocab);
// Transformer::open() with products of the precision that the options ask for.
model::Transformer open_for(const checkpoint::Checkpoint& source,
                            const text::CalibrationOptions& options);
// identity_of() (saved.h) of a run whose sums depend on how it reads: in which batches, with which
// products.
std::string identity_of(nlohmann::json run, const torch::Tensor& ids,
                        const text::CalibrationOptions& options);

}  // namespace espalier::layerwise
