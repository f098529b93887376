// SPDX-License-Identifier: Apache-2.0
// Activation: the mean absolute activation of the channel over calibration tokens. Muralidharan et
// al. 2024, "Compact Language Models via Pruning and Knowledge Distillation" (Minitron), arXiv
// 2407.14679.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace activation {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return per_index(input, axis, layer, input.sums.at(sum_name(axis, "abs"), layer));
}

}  // namespace activation

extern const Criterion k_activation;
const Criterion k_activation{"activation",
                             "mean |activation| (Minitron, arXiv 2407.14679)",
                             {"channel_moments"},
                             Scope::layer,
                             {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
                             activation::score};

}  // namespace espalier::prune
