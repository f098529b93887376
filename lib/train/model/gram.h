// SPDX-License-Identifier: Apache-2.0
// Second moments of activations, at half the products.
#pragma once
#include <torch/types.h>

namespace espalier::model {

// a^T a of [n, width], float32: panels of the upper triangle are computed, the rest is copied.
torch::Tensor gram(const torch::Tensor& a);

}  // namespace espalier::model
