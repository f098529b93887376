// SPDX-License-Identifier: Apache-2.0
// Sum over windows of the RMS of a window: Minitron's mean over the batch and L2 over the sequence.
// For a KV group it is the sum over its channels. Muralidharan et al. 2024 (Minitron), arXiv
// 2407.14679.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace activation_mean_rms {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return per_index(input, axis, layer, input.sums.at(sum_name(axis, "window_rms"), layer));
}

}  // namespace activation_mean_rms

extern const Criterion k_activation_mean_rms;
const Criterion k_activation_mean_rms{
    "activation_mean_rms",
    "mean over windows of the RMS in each (Minitron, arXiv 2407.14679)",
    {"window_aggregates"},
    Scope::model,
    {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
    activation_mean_rms::score};

}  // namespace espalier::prune
