// SPDX-License-Identifier: Apache-2.0
// Sums of x x^T over tokens, of what the consumers of a layer read. Products are float32 for each
// batch, sums are float64.
#include <algorithm>

#include "layerwise/gram.h"
#include "prune/statistics.h"

namespace espalier::prune {
namespace {

void add(Sums& sums, model::Tap point, int layer, const torch::Tensor& value,
         const torch::Tensor&) {
  for (const model::Block& block : model::all_blocks())
    if (point == block.inner)
      sums.add(sum_name(block.axis, "gram"), layer,
               layerwise::gram(value.reshape({-1, value.size(-1)})).to(torch::kFloat64));
}

void of_block(Sums& sums, const model::Block& block, int layer,
              const layerwise::NormalEquations& equations) {
  sums.add(sum_name(block.axis, "gram"), layer, equations.gram);
}

// With room for a factorization of the widest.
std::int64_t bytes(const arch::Arch&, const arch::ModelDims& dims) {
  const std::int64_t width =
      std::max(widest(dims, arch::Axis::ffn), widest(dims, arch::Axis::kv_groups));
  return 4 * 8 * width * width;
}

}  // namespace

extern const Statistic k_second_moments;
const Statistic k_second_moments{.name = "second_moments",
                                 .taps = {model::Tap::attn_mix, model::Tap::ffn_act},
                                 .bytes = bytes,
                                 .add = add,
                                 .of_block = of_block};

}  // namespace espalier::prune
