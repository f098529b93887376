// SPDX-License-Identifier: Apache-2.0
// Mean and squared deviations over tokens, in float64, of each channel that a consumer reads, per
// layer. Batches are merged by their own means (Chan, Golub, LeVeque 1979), so that a channel with
// a large mean keeps the digits of its variance.
//
//   mean        mean of x
//   deviations  sum of (x - mean)^2
//   count       tokens, [1]
#include <algorithm>

#include "prune/statistics.h"

namespace espalier::prune {
namespace fluctuation {

void add(Sums& sums, const model::BlockInput& input, int layer, const torch::Tensor& value,
         const torch::Tensor&) {
  const arch::Axis axis = input.block->axis();
  const torch::Tensor x = value.reshape({-1, value.size(-1)});
  const torch::Tensor mean = x.mean(0, false, torch::kFloat64), center = mean.to(torch::kFloat32);
  const auto n = static_cast<double>(x.size(0));
  const torch::Tensor deviations = (x - center).square().sum(0, false, torch::kFloat64) -
                                   n * (mean - center.to(torch::kFloat64)).square();
  torch::Tensor& count = sums.all[{sum_name(axis, "count"), layer}];
  torch::Tensor& all_mean = sums.all[{sum_name(axis, "mean"), layer}];
  torch::Tensor& all_deviations = sums.all[{sum_name(axis, "deviations"), layer}];
  if (!count.defined()) {
    count = torch::full({1}, n, torch::kFloat64);
    all_mean = mean;
    all_deviations = deviations;
    return;
  }
  const double before = count.item<double>(), after = before + n;
  const torch::Tensor step = mean - all_mean;
  all_mean = all_mean + step * (n / after);
  all_deviations = all_deviations + deviations + step.square() * (before * n / after);
  count = torch::full({1}, after, torch::kFloat64);
}

std::int64_t bytes(const arch::Arch& arch, const arch::ModelDims& dims) {
  std::int64_t channels = 0;
  for (const arch::Block& block : arch.blocks) channels += widest(dims, block) + 1;
  return 2 * 8 * channels;
}

}  // namespace fluctuation

extern const Statistic k_fluctuation;
const Statistic k_fluctuation{
    .name = "fluctuation", .inner = true, .bytes = fluctuation::bytes, .add = fluctuation::add};

}  // namespace espalier::prune
