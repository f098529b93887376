// SPDX-License-Identifier: Apache-2.0
// Second moments of activations, with half of the products.
#pragma once
#include <torch/types.h>

namespace espalier::layerwise {

// a^T a of a [n, width], float32. Computes panels of the upper triangle and copies the rest.
torch::Tensor gram(const torch::Tensor& a);

}  // namespace espalier::layerwise
