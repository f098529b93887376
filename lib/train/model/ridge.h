// SPDX-License-Identifier: Apache-2.0
// Ridge regression from sums over tokens. It refits a matrix after pruning or rounding.
#pragma once
#include <torch/types.h>

namespace espalier::model {

// 1 / rms over the last dimension, [.., 1]. It weighs tokens by the factor of the norm that
// follows.
torch::Tensor inverse_rms(const torch::Tensor& x);

// Sums over tokens of a a^T and a t^T, with a an input and t its aim. Products are in float32 per
// batch, sums in float64.
struct RidgeSums {
  torch::Tensor gram, cross;  // [n, n], [n, m]
  std::int64_t tokens = 0;
  void add(const torch::Tensor& inputs_BTN, const torch::Tensor& aim_BTM);
  RidgeSums of(const torch::Tensor& channels) const;  // the sums of these inputs alone
  // argmin over W [m, n] of sum || t - W a ||^2 + lambda || W - prior ||^2, float64. lambda is
  // `ridge` times the mean diagonal of `gram`.
  torch::Tensor solve(const torch::Tensor& prior, double ridge) const;
};

}  // namespace espalier::model
