// SPDX-License-Identifier: Apache-2.0
// L2 norm over windows of the mean |x| of a window: Minitron's L2 over the batch and mean over the
// sequence, the pair that it prefers. For a KV group it is the sum over its channels. Muralidharan
// et al. 2024 (Minitron), arXiv 2407.14679.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace activation_rms_mean {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return per_index(input, axis, layer,
                   input.sums.at(sum_name(axis, "window_mean_squares"), layer).sqrt());
}

}  // namespace activation_rms_mean

extern const Criterion k_activation_rms_mean;
const Criterion k_activation_rms_mean{
    "activation_rms_mean",
    "RMS over windows of the mean |activation| (Minitron, arXiv 2407.14679)",
    {"window_aggregates"},
    Scope::model,
    {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
    activation_rms_mean::score};

}  // namespace espalier::prune
