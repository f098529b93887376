// SPDX-License-Identifier: Apache-2.0
// The gradient of the loss (layerwise/backward.h) by every weight of a layer, float32.
#include "plan/memory.h"
#include "prune/statistics.h"

namespace espalier::prune {
namespace gradients {

void add_weight(Sums& sums, arch::Role role, int layer, const torch::Tensor& gradient) {
  sums.add(sum_name(role, "gradients"), layer, gradient.clone());
}

std::int64_t bytes(const arch::Arch& arch, const arch::ModelDims& dims) {
  return 4 * plan::largest_layer(arch, dims);
}

}  // namespace gradients

extern const Statistic k_gradients;
const Statistic k_gradients{.name = "gradients",
                            .backward = true,
                            .bytes = gradients::bytes,
                            .add_weight = gradients::add_weight};

}  // namespace espalier::prune
