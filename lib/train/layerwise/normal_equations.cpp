// SPDX-License-Identifier: Apache-2.0
// Sums and the solution by Cholesky factorization.
#include "layerwise/normal_equations.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/error.h"
#include "core/profile.h"
#include "layerwise/gram.h"

namespace espalier::layerwise {

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

void NormalEquations::add(const Tensor& inputs_BTN, const Tensor& aim_BTM,
                          torch::ScalarType dtype) {
  const Tensor a = inputs_BTN.reshape({-1, inputs_BTN.size(-1)});
  const Products products = gram_and_cross(a, aim_BTM.reshape({a.size(0), -1}), dtype);
  const core::Section section("gram");
  const Tensor g = products.gram.to(torch::kFloat64), c = products.cross.to(torch::kFloat64);
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

namespace {

// The lower factor of gram + lambda I. Rounding can make a singular matrix indefinite; then lambda
// rises until it is not.
Tensor factor(const Tensor& gram, double mean, double& lambda) {
  ESP_CHECK(std::isfinite(mean), internal, "second moments that are not finite");
  while (true) {
    Tensor damped = gram.clone();
    damped.diagonal().add_(lambda);
    const auto [lower, info] = torch::linalg_cholesky_ex(damped);
    if (info.item<std::int32_t>() == 0) return lower;
    lambda = std::max(10 * lambda, 1e-9 * mean);
  }
}

}  // namespace

Tensor NormalEquations::solve(const Tensor& prior, double ridge) const {
  const core::Section section("least squares");
  const auto n = static_cast<double>(gram.size(0));
  core::count_operations(n * n * (n / 3 + 2 * static_cast<double>(prior.size(0))));
  const double mean = gram.diagonal().mean().item<double>();
  double lambda = ridge * mean + 1e-30;
  const Tensor lower = factor(gram, mean, lambda);
  return torch::cholesky_solve(cross + lambda * prior.to(torch::kFloat64).t(), lower).t();
}

}  // namespace espalier::layerwise
