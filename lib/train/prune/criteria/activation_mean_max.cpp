// SPDX-License-Identifier: Apache-2.0
// Sum over windows of the largest |x| of a window: the mean over the batch and the maximum over the
// sequence. One outlier counts for one window alone. For a KV group it is the sum over its
// channels. Aggregates as in Muralidharan et al. 2024 (Minitron), arXiv 2407.14679.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace activation_mean_max {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return per_index(input, axis, layer, input.sums.at(sum_name(axis, "window_max"), layer));
}

}  // namespace activation_mean_max

extern const Criterion k_activation_mean_max;
const Criterion k_activation_mean_max{"activation_mean_max",
                                      "mean over windows of the largest |activation| in each",
                                      {"window_aggregates"},
                                      Scope::model,
                                      {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
                                      activation_mean_max::score};

}  // namespace espalier::prune
