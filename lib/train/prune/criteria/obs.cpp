// SPDX-License-Identifier: Apache-2.0
// OBS: the increase of the block's squared output error when channels j are removed and the others
// are refitted by least squares:
//
//   tr(W_j P_jj^-1 W_j^T)   with P = G^-1, G = sum x x^T
//
// Channels are eliminated a few at a time (a head group at a time). W and P are updated: W -= W_j
// P_jj^-1 P_j, P -= P_:j P_jj^-1 P_j:. The score is the order of elimination.
//
// Hassibi, Stork 1993 (Optimal Brain Surgeon); structured as in Kurtic, Frantar, Alistarh 2023
// (ZipLM), arXiv 2302.04089, and Guo et al. 2024 (SlimGPT), arXiv 2412.18110.
#include <algorithm>
#include <numeric>

#include "prune/criteria/common.h"

namespace espalier::prune {
namespace obs {

constexpr std::int64_t kAtOnce = 32;  // channels eliminated per step
constexpr double kDamping = 1e-2;     // times the mean diagonal of G

// The error of eliminating each of n units of `unit` channels, one alone.
std::vector<double> errors_of_units(const torch::Tensor& w, const torch::Tensor& p, std::size_t n,
                                    std::int64_t unit) {
  std::vector<double> error(n);
  if (unit == 1) {
    const torch::Tensor e = (w.square().sum(0) / p.diagonal()).contiguous();
    std::copy(e.data_ptr<double>(), e.data_ptr<double>() + e.numel(), error.begin());
    return error;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t at = static_cast<std::int64_t>(i) * unit;
    const torch::Tensor part = w.slice(1, at, at + unit),
                        block = p.slice(0, at, at + unit).slice(1, at, at + unit);
    error[i] = (part.matmul(torch::linalg_inv(block)) * part).sum().item<double>();
  }
  return error;
}

// Eliminates the channels `gone`, and leaves W and P of the channels `stay`.
void eliminate(const std::vector<std::int64_t>& gone, const std::vector<std::int64_t>& stay,
               torch::Tensor& w, torch::Tensor& p) {
  const torch::Tensor j = torch::tensor(gone), m = torch::tensor(stay);
  const torch::Tensor p_j = p.index_select(0, j), p_jm = p_j.index_select(1, m);
  const torch::Tensor solved =
      torch::linalg_solve(p_j.index_select(1, j), p_jm, /*left=*/true);  // P_jj^-1 P_jm
  w = w.index_select(1, m) - w.index_select(1, j).matmul(solved);
  p = p.index_select(0, m).index_select(1, m) - p_jm.t().matmul(solved);
}

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  const torch::Tensor& gram = input.sums.at(sum_name(axis, "gram"), layer);
  torch::Tensor w = consumer(input, axis, layer).to(torch::kFloat64).clone();
  const std::int64_t width = w.size(1);
  const std::int64_t units = input.model.dims().layers[static_cast<std::size_t>(layer)][axis];
  const std::int64_t unit = width / units;  // channels that are removed together
  const torch::Tensor damped =
      gram + torch::eye(width, gram.options()) *
                 (kDamping * gram.diagonal().mean().item<double>() + 1e-30);
  torch::Tensor p = torch::cholesky_inverse(torch::linalg_cholesky(damped));

  std::vector<double> out(static_cast<std::size_t>(units), 0);
  std::vector<std::int64_t> left(static_cast<std::size_t>(units));
  std::iota(left.begin(), left.end(), 0);
  double total = 0;  // error so far: a unit that is removed later scores higher
  while (!left.empty()) {
    const std::vector<double> error = errors_of_units(w, p, left.size(), unit);
    std::vector<std::size_t> order(left.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return error[a] < error[b]; });
    // Eliminating half of the channels ranks them. The better half is then ranked by the current
    // errors.
    const bool rest = static_cast<std::int64_t>(left.size()) * 2 <= units || left.size() == 1;
    const std::size_t go = rest        ? left.size()
                           : unit == 1 ? std::min<std::size_t>(kAtOnce, left.size())
                                       : 1;
    std::vector<bool> gone(left.size(), false);
    double highest = total;
    for (std::size_t k = 0; k < go; ++k) {
      gone[order[k]] = true;
      out[static_cast<std::size_t>(left[order[k]])] = total + error[order[k]];
      highest = std::max(highest, total + error[order[k]]);
    }
    total = highest;
    std::vector<std::int64_t> stay, go_channels, stay_channels;
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (!gone[i]) stay.push_back(left[i]);
      for (std::int64_t c = 0; c < unit; ++c)
        (gone[i] ? go_channels : stay_channels).push_back(static_cast<std::int64_t>(i) * unit + c);
    }
    left = std::move(stay);
    if (!left.empty()) eliminate(go_channels, stay_channels, w, p);
  }
  return out;
}

}  // namespace obs

extern const Criterion k_obs;
const Criterion k_obs{"obs",
                      "error after refitting the rest (OBS; ZipLM, arXiv 2302.04089)",
                      {"second_moments"},
                      Scope::layer,
                      {arch::Axis::ffn, arch::Axis::kv_groups},
                      obs::score,
                      nullptr,
                      /*assumes_refit=*/true};

}  // namespace espalier::prune
