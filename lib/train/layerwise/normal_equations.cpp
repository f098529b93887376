// SPDX-License-Identifier: Apache-2.0
// Sums and the solution by Cholesky factorization.
#include "layerwise/normal_equations.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/profile.h"
#include "layerwise/gram.h"

namespace espalier::layerwise {

using torch::Tensor;

double default_ridge(std::int64_t tokens) {
  constexpr double kFewTokens = 24576, kManyTokens = 65536;
  const double way = std::clamp(
      std::log(static_cast<double>(tokens) / kFewTokens) / std::log(kManyTokens / kFewTokens), 0.0,
      1.0);
  return 0.2 * std::pow(0.25, way);
}

Tensor inverse_rms(const Tensor& x) {
  const Tensor squares = x.square().mean(-1, true);
  // An infinite mean would weigh its token by 0, and the token would drop out without a word.
  ESP_CHECK(
      torch::isfinite(squares).all().item<bool>(), input,
      "the squares of activations of this text exceed the range of float32, so that no matrix "
      "can be fitted to them");
  return squares.add(1e-12).rsqrt();
}

void NormalEquations::add(const Tensor& inputs_BTN, const Tensor& aim_BTM) {
  const core::Section section("gram");
  const Tensor a = inputs_BTN.reshape({-1, inputs_BTN.size(-1)});
  core::count_operations(2.0 * static_cast<double>(a.numel()) *
                         static_cast<double>(aim_BTM.size(-1)));
  const Tensor g = layerwise::gram(a).to(torch::kFloat64),
               c = a.t().matmul(aim_BTM.reshape({a.size(0), -1})).to(torch::kFloat64);
  gram = gram.defined() ? gram.add_(g) : g;
  cross = cross.defined() ? cross.add_(c) : c;
  tokens += a.size(0);
}

void NormalEquations::add_abs(const Tensor& inputs_BTN) {
  const Tensor s =
      inputs_BTN.reshape({-1, inputs_BTN.size(-1)}).abs().sum(0, false, torch::kFloat64);
  abs_sum = abs_sum.defined() ? abs_sum.add_(s) : s;
}

NormalEquations NormalEquations::of(const Tensor& channels) const {
  return {gram.index_select(0, channels).index_select(1, channels),
          cross.index_select(0, channels),
          {},
          tokens};
}

Tensor NormalEquations::solve(const Tensor& prior, double ridge) const {
  const core::Section section("least squares");
  const auto n = static_cast<double>(gram.size(0));
  core::count_operations(n * n * (n / 3 + 2 * static_cast<double>(prior.size(0))));
  const double lambda = ridge * gram.diagonal().mean().item<double>() + 1e-30;
  const Tensor damped = gram.clone();
  damped.diagonal().add_(lambda);
  return torch::cholesky_solve(cross + lambda * prior.to(torch::kFloat64).t(),
                               torch::linalg_cholesky(damped))
      .t();
}

}  // namespace espalier::layerwise
