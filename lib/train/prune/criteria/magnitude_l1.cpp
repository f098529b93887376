// SPDX-License-Identifier: Apache-2.0
// Magnitude of the coupled group, L1: sum |w| over the group, of all weights that go when an index
// goes. The group of an FFN channel or a KV group is that of taylor.cpp. That of an index of the
// stream is its row or column in every matrix of the model. Li et al. 2016, "Pruning Filters for
// Efficient ConvNets", arXiv 1608.08710; coupled groups as in Fang et al. 2023 (DepGraph), arXiv
// 2301.12900.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace magnitude_l1 {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  const auto of = [](const torch::Tensor& w) { return w.abs(); };
  return axis == arch::Axis::hidden
             ? over_stream(input, of)
             : over_coupled(input, axis, layer, [&](arch::Role role) {
                 return of(input.model.weight(role, layer).detach().to(torch::kFloat64));
               });
}

}  // namespace magnitude_l1

extern const Criterion k_magnitude_l1;
const Criterion k_magnitude_l1{"magnitude_l1",
                               "L1 norm of the coupled weights (arXiv 1608.08710, 2301.12900)",
                               {},
                               Scope::layer,
                               {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
                               magnitude_l1::score};

}  // namespace espalier::prune
