// SPDX-License-Identifier: Apache-2.0
// The diagonal of the empirical Fisher information of every weight of a layer, up to a constant:
// the sum over windows of the squared gradient of the window's part of the loss
// (layerwise/backward.h). Within a window, gradients of tokens add up before they are squared. Sums
// are float32.
#include "plan/memory.h"
#include "prune/statistics.h"

namespace espalier::prune {
namespace squared_gradients {

void add_weight(Sums& sums, arch::Role role, int layer, const torch::Tensor& gradient) {
  sums.add(sum_name(role, "squared_gradients"), layer, gradient.square());
}

std::int64_t bytes(const arch::Arch& arch, const arch::ModelDims& dims) {
  return 4 * plan::largest_layer(arch, dims);
}

}  // namespace squared_gradients

extern const Statistic k_squared_gradients;
const Statistic k_squared_gradients{.name = "squared_gradients",
                                    .backward = true,
                                    .bytes = squared_gradients::bytes,
                                    .add_weight = squared_gradients::add_weight};

}  // namespace espalier::prune
