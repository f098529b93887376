// SPDX-License-Identifier: Apache-2.0
// Ridge regression from sums over tokens: how a matrix is refitted after pruning or rounding.
#pragma once
#include <torch/types.h>

#include <cstdint>

namespace espalier::layerwise {

// 1 / rms over the last dimension, [.., 1]: weighs a token by what the following norm divides by.
torch::Tensor inverse_rms(const torch::Tensor& x);

// Sums over tokens of a a^T and a t^T, where a [n] is what a matrix reads and t [m] is what it
// should give. Sums over a batch are float32, of values that are rounded to `dtype`; sums over
// batches are float64.
struct NormalEquations {
  torch::Tensor gram, cross;  // [n, n], [n, m]
  torch::Tensor abs_sum;      // [n] sum of |a|; undefined unless add_abs() is called
  std::int64_t tokens = 0;

  void add(const torch::Tensor& inputs_BTN, const torch::Tensor& aim_BTM,
           torch::ScalarType dtype = torch::kFloat32);
  void add_abs(const torch::Tensor& inputs_BTN);
  NormalEquations of(const torch::Tensor& channels) const;  // for some of the inputs alone
  // argmin over W [m, n] of sum || t - W a ||^2 + lambda || W - prior ||^2, in float64. lambda is
  // `ridge` times the mean diagonal of `gram`, and more where that leaves a singular matrix.
  torch::Tensor solve(const torch::Tensor& prior, double ridge) const;
};

}  // namespace espalier::layerwise
