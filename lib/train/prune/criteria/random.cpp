// SPDX-License-Identifier: Apache-2.0
// Random: a uniform number in [0, 1) for each index, each layer and each block. What a criterion is
// worth is what it keeps more than this one. The numbers are a function of the run's seed, the axis
// and the layer alone.
#include "core/rng.h"
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace random {

std::vector<double> draw(std::uint64_t seed, std::uint64_t stream, std::int64_t n) {
  core::Rng rng(seed, stream);
  std::vector<double> out(static_cast<std::size_t>(n));
  for (double& v : out) v = rng.uniform();
  return out;
}

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  const arch::ModelDims& dims = input.model.dims();
  const arch::LayerDims* size = layer < 0 ? nullptr : &dims.layers[static_cast<std::size_t>(layer)];
  const auto stream =
      (static_cast<std::uint64_t>(axis) << 32) + static_cast<std::uint64_t>(layer + 1);
  return draw(input.seed, stream, arch::size_of(axis, dims, size));
}

LayerScores layers(const LayersInput& input) {
  return {{0, draw(input.seed, 0, input.model.dims().n_layers())}};
}

BlockScores blocks(const LayersInput& input) {
  const std::int64_t n = input.model.dims().n_layers();
  return {{arch::BlockKind::attention, draw(input.seed, 1, n)},
          {arch::BlockKind::ffn, draw(input.seed, 2, n)}};
}

}  // namespace random

extern const Criterion k_random;
const Criterion k_random{"random",
                         "uniform random numbers by the seed, the least that a criterion must beat",
                         {},
                         Scope::model,
                         {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
                         random::score,
                         random::layers,
                         /*assumes_refit=*/false,
                         random::blocks};

}  // namespace espalier::prune
