// SPDX-License-Identifier: Apache-2.0
// Ridge regression from sums over tokens, where a matrix is refitted after pruning or rounding.
#pragma once
#include <torch/types.h>

namespace espalier::model {

// 1 / rms over the last dimension: weighs tokens by what the norm behind will divide by. [.., 1]
torch::Tensor inverse_rms(const torch::Tensor& x);

// Sums over tokens of a a^T and a t^T. Products in float32 per batch, sums in float64.
struct RidgeSums {
  torch::Tensor gram, cross;  // [n, n], [n, m]
  std::int64_t tokens = 0;
  void add(const torch::Tensor& inputs_BTN, const torch::Tensor& aim_BTM);
  RidgeSums of(const torch::Tensor& channels) const;  // those inputs alone
  // argmin over W [m, n] of sum || t - W a ||^2 + lambda || W - prior ||^2, float64; lambda:
  // `ridge` of the mean diagonal of `gram`.
  torch::Tensor solve(const torch::Tensor& prior, double ridge) const;
};

}  // namespace espalier::model
