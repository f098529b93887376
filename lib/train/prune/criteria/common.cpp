// SPDX-License-Identifier: Apache-2.0
// Consumers, sums per index and checks that the criteria share.
#include "prune/criteria/common.h"

#include <algorithm>
#include <array>

namespace espalier::prune {

const torch::Tensor& consumer(const CriterionInput& input, arch::Axis axis, int layer) {
  return input.model.weight(arch::block_of(input.model.arch(), axis).consumer, layer);
}

std::vector<double> per_index(const CriterionInput& input, arch::Axis axis, int layer,
                              const torch::Tensor& per_channel) {
  torch::Tensor values = per_channel.to(torch::kFloat64);
  if (layer >= 0) {
    const std::int64_t n = input.model.dims().layers[static_cast<std::size_t>(layer)][axis];
    values = values.view({n, -1}).sum(1);
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

std::vector<double> over_stream(const CriterionInput& input,
                                const std::function<torch::Tensor(const torch::Tensor&)>& of) {
  constexpr std::int64_t kValues = std::int64_t{1} << 22;  // of a matrix at a time
  const arch::ModelDims& dims = input.model.dims();
  torch::Tensor sum = torch::zeros({dims.hidden}, torch::kFloat64);
  for (const arch::TensorRef& ref : arch::tensors(input.model.arch(), dims)) {
    const bool reads = touches(ref.spec->cols, arch::Axis::hidden);
    if (ref.is_vector || (!reads && !touches(ref.spec->rows, arch::Axis::hidden))) continue;
    const std::int64_t block = std::max<std::int64_t>(1, kValues / ref.cols);
    for (std::int64_t row = 0; row < ref.rows; row += block) {
      const std::int64_t n = std::min(block, ref.rows - row);
      const torch::Tensor values =
          of(input.model.rows(ref.spec->role, ref.layer, row, n).detach().to(torch::kFloat64));
      if (reads)
        sum += values.sum(0);
      else
        sum.narrow(0, row, n).add_(values.sum(1));
    }
  }
  return {sum.const_data_ptr<double>(), sum.const_data_ptr<double>() + sum.numel()};
}

std::vector<double> over_coupled(const CriterionInput& input, arch::Axis axis, int layer,
                                 const std::function<torch::Tensor(arch::Role)>& of_weights) {
  const arch::ModelDims& dims = input.model.dims();
  const arch::LayerDims* size = &dims.layers[static_cast<std::size_t>(layer)];
  torch::Tensor sum = torch::zeros({arch::size_of(axis, dims, size)}, torch::kFloat64);
  for (const arch::TensorSpec& spec : arch::block_of(input.model.arch(), axis).tensors) {
    const bool rows = touches(spec.rows, axis);
    if (!input.model.has(spec.role, layer) || (!rows && !touches(spec.cols, axis))) continue;
    torch::Tensor values = of_weights(spec.role).to(torch::kFloat64);
    if (values.dim() == 2) values = values.sum(rows ? 1 : 0);
    std::int64_t begin = 0;
    for (const arch::Run& run : rows ? spec.rows : spec.cols) {
      if (run.a == arch::Axis::none) continue;
      const std::array axes{run.a, run.b, run.c};
      std::array<std::int64_t, 3> n{};
      for (std::size_t i = 0; i < 3; ++i) n[i] = arch::size_of(axes[i], dims, size);
      const torch::Tensor part =
          values.narrow(0, begin, n[0] * n[1] * n[2]).view(torch::IntArrayRef(n));
      begin += part.numel();
      for (std::size_t i = 0; i < 3; ++i)
        if (axes[i] == axis) sum += part.movedim(static_cast<std::int64_t>(i), 0).flatten(1).sum(1);
    }
  }
  return {sum.const_data_ptr<double>(), sum.const_data_ptr<double>() + sum.numel()};
}

}  // namespace espalier::prune
