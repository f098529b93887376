// SPDX-License-Identifier: Apache-2.0
// Sums of |x| and x^2 over tokens, in float64: of each channel that a consumer reads, per layer,
// and of each index of the stream over the normed inputs of all blocks.
#include "prune/statistics.h"

namespace espalier::prune {
namespace channel_moments {

torch::Tensor over_tokens(const torch::Tensor& x) {
  return x.reshape({-1, x.size(-1)}).sum(0, false, torch::kFloat64);
}

void add(Sums& sums, const model::BlockInput& input, int layer, const torch::Tensor& value,
         const torch::Tensor&) {
  const arch::Axis axis = input.inner ? input.block->axis() : arch::Axis::hidden;
  sums.add(sum_name(axis, "abs"), input.inner ? layer : -1, over_tokens(value.abs()));
  sums.add(sum_name(axis, "squares"), input.inner ? layer : -1, over_tokens(value.square()));
}

void of_block(Sums& sums, const arch::Block& block, int layer,
              const layerwise::NormalEquations& equations) {
  sums.add(sum_name(block.axis(), "abs"), layer, equations.abs_sum);
  sums.add(sum_name(block.axis(), "squares"), layer, equations.gram.diagonal());
}

std::int64_t bytes(const arch::Arch& arch, const arch::ModelDims& dims) {
  return 2 * 8 * channels_read(arch, dims);
}

}  // namespace channel_moments

extern const Statistic k_channel_moments;
const Statistic k_channel_moments{.name = "channel_moments",
                                  .inputs = true,
                                  .inner = true,
                                  .bytes = channel_moments::bytes,
                                  .add = channel_moments::add,
                                  .of_block = channel_moments::of_block};

}  // namespace espalier::prune
