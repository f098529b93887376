// SPDX-License-Identifier: Apache-2.0
// Taylor by element: the first-order change of the loss when each weight of a group of coupled
// weights becomes zero on its own, added up without regard to signs:
//
//   sum over the group of | w dL/dw |
//
// Groups are those of taylor.cpp, whose terms may cancel. Ma, Fang, Wang 2023 (LLM-Pruner), arXiv
// 2305.11627, its element-wise importance.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace taylor_elements {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return over_coupled(input, axis, layer, [&](arch::Role role) {
    return (input.model.weight(role, layer) * input.sums.at(sum_name(role, "gradients"), layer))
        .abs();
  });
}

}  // namespace taylor_elements

extern const Criterion k_taylor_elements;
const Criterion k_taylor_elements{
    "taylor_elements",
    "first-order change of the loss, weight by weight (LLM-Pruner, arXiv 2305.11627)",
    {"gradients"},
    Scope::model,
    {arch::Axis::ffn, arch::Axis::kv_groups},
    taylor_elements::score};

}  // namespace espalier::prune
