// SPDX-License-Identifier: Apache-2.0
// Sums of |x| and x^2 over tokens, in float64: of each channel that a consumer reads, per layer,
// and of each index of the stream over the normed inputs of all blocks.
#include "prune/statistics.h"

namespace espalier::prune {
namespace {

torch::Tensor over_tokens(const torch::Tensor& x) {
  return x.reshape({-1, x.size(-1)}).sum(0, false, torch::kFloat64);
}

void add(Sums& sums, model::Tap point, int layer, const torch::Tensor& value,
         const torch::Tensor&) {
  for (const model::Block& block : model::all_blocks()) {
    if (point != block.inner && point != block.input) continue;
    const bool inner = point == block.inner;
    const arch::Axis axis = inner ? block.axis : arch::Axis::hidden;
    sums.add(sum_name(axis, "abs"), inner ? layer : -1, over_tokens(value.abs()));
    sums.add(sum_name(axis, "squares"), inner ? layer : -1, over_tokens(value.square()));
  }
}

void of_block(Sums& sums, const model::Block& block, int layer,
              const layerwise::NormalEquations& equations) {
  sums.add(sum_name(block.axis, "abs"), layer, equations.abs_sum);
  sums.add(sum_name(block.axis, "squares"), layer, equations.gram.diagonal());
}

std::int64_t bytes(const arch::Arch&, const arch::ModelDims& dims) {
  return 2 * 8 *
         (dims.hidden + widest(dims, arch::Axis::ffn) + widest(dims, arch::Axis::kv_groups));
}

}  // namespace

extern const Statistic k_channel_moments;
const Statistic k_channel_moments{
    .name = "channel_moments",
    .taps = {model::Tap::attn_in, model::Tap::attn_mix, model::Tap::ffn_in, model::Tap::ffn_act},
    .bytes = bytes,
    .add = add,
    .of_block = of_block};

}  // namespace espalier::prune
