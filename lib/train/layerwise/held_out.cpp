// SPDX-License-Identifier: Apache-2.0
// A walk over the grid of ridges. An error is computed once.
#include "layerwise/held_out.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/profile.h"

namespace espalier::layerwise {

using torch::Tensor;
namespace {

constexpr std::array kRidges{0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0};

// `a` holds the absolute sums of both.
NormalEquations sum_of(const NormalEquations& a, const NormalEquations& b) {
  return {a.gram + b.gram, a.cross + b.cross, a.abs_sum, a.tokens + b.tokens};
}

}  // namespace

std::int64_t held_out_windows(std::int64_t windows) {
  return windows < 2 ? 0 : std::max<std::int64_t>(1, windows / 8);
}

std::span<const double> ridges() { return kRidges; }

void SplitEquations::add(const Tensor& inputs, const Tensor& aim, std::int64_t n_seen,
                         torch::ScalarType dtype) {
  const std::int64_t n = inputs.size(0), first = std::clamp<std::int64_t>(n_seen, 0, n);
  if (first > 0) seen.add(inputs.narrow(0, 0, first), aim.narrow(0, 0, first), dtype);
  if (first < n)
    held_out.add(inputs.narrow(0, first, n - first), aim.narrow(0, first, n - first), dtype);
}

NormalEquations SplitEquations::all() const { return splits() ? sum_of(seen, held_out) : seen; }

SplitEquations SplitEquations::of(const Tensor& channels) const {
  if (!splits()) return {seen.of(channels), {}};
  return {seen.of(channels), held_out.of(channels)};
}

SplitEquations SplitEquations::with_outputs(const Tensor& outputs) const {
  SplitEquations out = *this;
  for (NormalEquations* part : {&out.seen, &out.held_out})
    part->cross = part->cross.index_select(1, outputs);
  return out;
}

double output_error(const NormalEquations& equations, const Tensor& weights) {
  const Tensor w = weights.to(torch::kFloat64);
  return ((w.matmul(equations.gram) - 2 * equations.cross.t()) * w).sum().item<double>();
}

double choose_ridge(const SplitEquations& all, const Tensor& all_prior, double first) {
  const core::Section section("ridge");
  const std::int64_t m = all_prior.size(0);
  const Tensor outputs = torch::arange(0, m, m < kManyOutputs ? 1 : kOfManyOutputs);
  const SplitEquations equations = all.with_outputs(outputs);
  const Tensor prior = all_prior.index_select(0, outputs);
  std::array<std::optional<double>, kRidges.size()> known;
  const auto error = [&](std::size_t i) {
    if (!known[i])
      known[i] = output_error(equations.held_out, equations.seen.solve(prior, kRidges[i]));
    return *known[i];
  };
  auto best = static_cast<std::size_t>(std::lower_bound(kRidges.begin(), kRidges.end() - 1, first) -
                                       kRidges.begin());
  while (best + 1 < kRidges.size() && error(best + 1) < error(best)) ++best;
  while (best > 0 && error(best - 1) < error(best)) --best;
  const double allowed =
      error(best) + kTolerance * (output_error(equations.held_out, prior) - error(best));
  while (best + 1 < kRidges.size() && error(best + 1) <= allowed) ++best;
  return kRidges[best];
}

}  // namespace espalier::layerwise
