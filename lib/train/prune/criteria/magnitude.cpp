// SPDX-License-Identifier: Apache-2.0
// Magnitude: the squared norm of the consumer's column. It needs no activations. It is the baseline
// that other criteria must beat.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace magnitude {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  if (axis == arch::Axis::hidden)
    return per_index(input, axis, layer, hidden_weight_squares(input));
  return per_index(input, axis, layer,
                   consumer(input, axis, layer).to(torch::kFloat64).square().sum(0));
}

}  // namespace magnitude

extern const Criterion k_magnitude;
const Criterion k_magnitude{"magnitude",
                            "norm of the consumer weights",
                            {},
                            Scope::layer,
                            {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
                            magnitude::score};

}  // namespace espalier::prune
