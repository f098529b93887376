// SPDX-License-Identifier: Apache-2.0
// Sums of x x^T over tokens, of what the consumers of a layer read. Products are float32 for each
// batch, sums are float64.
#include <algorithm>

#include "layerwise/gram.h"
#include "prune/statistics.h"

namespace espalier::prune {
namespace second_moments {

void add(Sums& sums, const model::BlockInput& input, int layer, const torch::Tensor& value,
         const torch::Tensor&) {
  sums.add(sum_name(input.block->axis(), "gram"), layer,
           layerwise::gram(value.reshape({-1, value.size(-1)})).to(torch::kFloat64));
}

void of_block(Sums& sums, const arch::Block& block, int layer,
              const layerwise::NormalEquations& equations) {
  sums.add(sum_name(block.axis(), "gram"), layer, equations.gram);
}

// With room for a factorization of the widest.
std::int64_t bytes(const arch::Arch& arch, const arch::ModelDims& dims) {
  std::int64_t width = 0;
  for (const arch::Block& block : arch.blocks) width = std::max(width, widest(dims, block));
  return 4 * 8 * width * width;
}

}  // namespace second_moments

extern const Statistic k_second_moments;
const Statistic k_second_moments{.name = "second_moments",
                                 .inner = true,
                                 .bytes = second_moments::bytes,
                                 .add = second_moments::add,
                                 .of_block = second_moments::of_block};

}  // namespace espalier::prune
