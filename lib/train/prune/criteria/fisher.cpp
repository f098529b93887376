// SPDX-License-Identifier: Apache-2.0
// Fisher: how much the loss changes, to second order, when a group of coupled weights becomes zero,
// with the diagonal Fisher information for the Hessian and no first-order term:
//
//   1/2 sum over the group of w^2 F,  F = sum over windows of (dL_window/dw)^2
//
// Groups are those of taylor.cpp. LeCun, Denker, Solla 1989 (Optimal Brain Damage); with the Fisher
// information as in LLM-Pruner, arXiv 2305.11627.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace fisher {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return over_coupled(input, axis, layer, [&](arch::Role role) {
    return 0.5 * input.model.weight(role, layer).to(torch::kFloat64).square() *
           input.sums.at(sum_name(role, "squared_gradients"), layer);
  });
}

}  // namespace fisher

extern const Criterion k_fisher;
const Criterion k_fisher{"fisher",
                         "second-order change of the loss by the diagonal Fisher information (OBD)",
                         {"squared_gradients"},
                         Scope::model,
                         {arch::Axis::ffn, arch::Axis::kv_groups},
                         fisher::score};

}  // namespace espalier::prune
