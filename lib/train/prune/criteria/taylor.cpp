// SPDX-License-Identifier: Apache-2.0
// Taylor: how much the loss changes, to first order, when a group of coupled weights becomes zero:
//
//   | sum over the group of w dL/dw |
//
// The group of an FFN channel is its row of up and gate, with their biases, and its column of down.
// That of a KV group is its rows of k and v and the rows of q of its heads, with their biases, and
// their columns of the attention output.
//
// Ma, Fang, Wang 2023, "LLM-Pruner: On the Structural Pruning of Large Language Models", arXiv
// 2305.11627.
#include <cmath>

#include "prune/criteria/common.h"

namespace espalier::prune {
namespace taylor {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  std::vector<double> out = over_coupled(input, axis, layer, [&](arch::Role role) {
    return input.model.weight(role, layer) * input.sums.at(sum_name(role, "gradients"), layer);
  });
  for (double& v : out) v = std::abs(v);
  return out;
}

}  // namespace taylor

extern const Criterion k_taylor;
const Criterion k_taylor{"taylor",
                         "first-order change of the loss (LLM-Pruner, arXiv 2305.11627)",
                         {"gradients"},
                         Scope::model,
                         {arch::Axis::ffn, arch::Axis::kv_groups},
                         taylor::score};

}  // namespace espalier::prune
