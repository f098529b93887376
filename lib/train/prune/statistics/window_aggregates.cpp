// SPDX-License-Identifier: Apache-2.0
// What the tokens of each window give, over all windows, in float64: of each channel that a
// consumer reads, per layer, and of each index of the stream over the normed inputs of all blocks.
// A window at one norm then counts as a window of its own.
//
//   window_mean_squares  sum over windows of ( mean |x| )^2
//   window_rms           sum over windows of sqrt( mean x^2 )
//   window_max           sum over windows of max |x|
//   max                  max |x|
#include <algorithm>

#include "prune/statistics.h"

namespace espalier::prune {
namespace window_aggregates {

void add(Sums& sums, const model::BlockInput& input, int layer, const torch::Tensor& value,
         const torch::Tensor&) {
  const arch::Axis axis = input.inner ? input.block->axis() : arch::Axis::hidden;
  const int of = input.inner ? layer : -1;
  const torch::Tensor x = value.abs();  // [B, T, width]
  const auto tokens = static_cast<double>(x.size(1));
  const torch::Tensor mean = x.sum(1, false, torch::kFloat64) / tokens,
                      rms = (x.square().sum(1, false, torch::kFloat64) / tokens).sqrt(),
                      max = x.amax(1).to(torch::kFloat64);
  sums.add(sum_name(axis, "window_mean_squares"), of, mean.square().sum(0));
  sums.add(sum_name(axis, "window_rms"), of, rms.sum(0));
  sums.add(sum_name(axis, "window_max"), of, max.sum(0));
  torch::Tensor& largest = sums.all[{sum_name(axis, "max"), of}];
  largest = largest.defined() ? torch::maximum(largest, max.amax(0)) : max.amax(0);
}

std::int64_t bytes(const arch::Arch& arch, const arch::ModelDims& dims) {
  return 4 * 8 * channels_read(arch, dims);
}

}  // namespace window_aggregates

extern const Statistic k_window_aggregates;
const Statistic k_window_aggregates{.name = "window_aggregates",
                                    .inputs = true,
                                    .inner = true,
                                    .bytes = window_aggregates::bytes,
                                    .add = window_aggregates::add};

}  // namespace espalier::prune
