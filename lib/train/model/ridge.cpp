// SPDX-License-Identifier: Apache-2.0
// Sums and solution of the ridge regression.
#include "model/ridge.h"

#include "core/error.h"
#include "model/gram.h"

namespace espalier::model {

using torch::Tensor;

Tensor inverse_rms(const Tensor& x) {
  const Tensor squares = x.square().mean(-1, true);
  // An infinite mean would weigh its token by 0, and the token would drop out without a word.
  ESP_CHECK(
      torch::isfinite(squares).all().item<bool>(), input,
      "the squares of activations of this text exceed the range of float32, so that no matrix "
      "can be fitted to them");
  return squares.add(1e-12).rsqrt();
}

void RidgeSums::add(const Tensor& inputs_BTN, const Tensor& aim_BTM) {
  const Tensor a = inputs_BTN.reshape({-1, inputs_BTN.size(-1)});
  const Tensor g = model::gram(a).to(torch::kFloat64),
               c = a.t().matmul(aim_BTM.reshape({a.size(0), -1})).to(torch::kFloat64);
  gram = gram.defined() ? gram.add_(g) : g;
  cross = cross.defined() ? cross.add_(c) : c;
  tokens += a.size(0);
}

RidgeSums RidgeSums::of(const Tensor& channels) const {
  return {gram.index_select(0, channels).index_select(1, channels), cross.index_select(0, channels),
          tokens};
}

Tensor RidgeSums::solve(const Tensor& prior, double ridge) const {
  const double lambda = ridge * gram.diagonal().mean().item<double>() + 1e-30;
  const Tensor damped = gram + lambda * torch::eye(gram.size(0), gram.options());
  return torch::cholesky_solve(cross + lambda * prior.to(torch::kFloat64).t(),
                               torch::linalg_cholesky(damped))
      .t();
}

}  // namespace espalier::model
