// SPDX-License-Identifier: Apache-2.0
// Maximum of activations: the largest |x| over all tokens. For a KV group it is the sum over its
// channels. With the maximum in place of Minitron's aggregates over the batch and the sequence,
// arXiv 2407.14679.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace activation_max {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return per_index(input, axis, layer, input.sums.at(sum_name(axis, "max"), layer));
}

}  // namespace activation_max

extern const Criterion k_activation_max;
const Criterion k_activation_max{"activation_max",
                                 "largest |activation| of any token",
                                 {"window_aggregates"},
                                 Scope::model,
                                 {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
                                 activation_max::score};

}  // namespace espalier::prune
