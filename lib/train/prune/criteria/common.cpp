// SPDX-License-Identifier: Apache-2.0
// Consumers, sums per index and checks that the criteria share.
#include "prune/criteria/common.h"

#include <algorithm>

namespace espalier::prune {

const torch::Tensor& consumer(const CriterionInput& input, arch::Axis axis, int layer) {
  return input.model.weight(
      axis == arch::Axis::ffn ? arch::Role::ffn_down : arch::Role::attn_output, layer);
}

std::vector<double> per_index(const CriterionInput& input, arch::Axis axis, int layer,
                              const torch::Tensor& per_channel) {
  torch::Tensor values = per_channel.to(torch::kFloat64);
  if (axis == arch::Axis::kv_groups) {
    const std::int64_t groups =
        input.model.dims().layers[static_cast<std::size_t>(layer)].kv_groups;
    values = values.view({groups, -1}).sum(1);
  }
  values = values.contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

torch::Tensor hidden_weight_squares(const CriterionInput& input) {
  constexpr std::int64_t kRows = 8192;
  const arch::ModelDims& dims = input.model.dims();
  torch::Tensor sum = torch::zeros({dims.hidden}, torch::kFloat64);
  for (std::int64_t row = 0; row < dims.vocab; row += kRows)
    sum += input.model.rows(arch::Role::token_embd, -1, row, std::min(kRows, dims.vocab - row))
               .square()
               .sum(0, false, torch::kFloat64);
  return sum;
}

}  // namespace espalier::prune
