// SPDX-License-Identifier: Apache-2.0
// Relative magnitude of a layer: E[ ||f(x)|| / ||x + f(x)|| ], where the layer makes x + f(x) of x.
// Samragh et al. 2023, arXiv 2312.09299, as in Men et al. 2024 (ShortGPT), arXiv 2403.03853.
#include "prune/criteria/layers.h"

namespace espalier::prune {
namespace relative_magnitude {

torch::Tensor likeness(const torch::Tensor& in, const torch::Tensor& out) {
  return 1 - (out - in).norm(2, -1) / out.norm(2, -1);
}

LayerScores layers(const LayersInput& input) { return by_likeness(input, likeness); }

}  // namespace relative_magnitude

extern const Criterion k_relative_magnitude;
const Criterion k_relative_magnitude{
    "relative_magnitude",
    "mean |f(x)| / |x + f(x)| of a layer (as in ShortGPT, arXiv 2403.03853)",
    {},
    Scope::layer,
    {},
    nullptr,
    relative_magnitude::layers};

}  // namespace espalier::prune
