// SPDX-License-Identifier: Apache-2.0
// Second moments of activations, with half of the products.
#pragma once
#include <torch/types.h>

namespace espalier::layerwise {

// a^T a of a [n, width], float32. Computes panels of the upper triangle and copies the rest.
// bfloat16: a is rounded to it, and the sums are float32 all the same.
torch::Tensor gram(const torch::Tensor& a, torch::ScalarType dtype = torch::kFloat32);

struct Products {
  torch::Tensor gram, cross;  // a^T a, a^T b
};
// Of a [n, width] and b [n, m].
Products gram_and_cross(const torch::Tensor& a, const torch::Tensor& b, torch::ScalarType dtype);

}  // namespace espalier::layerwise
