// SPDX-License-Identifier: Apache-2.0
// Block influence of a layer: 1 - E[ cos(input, output) ], the same that decides where a criterion
// does not score layers. Men et al. 2024 (ShortGPT), arXiv 2403.03853.
#include "prune/criteria/layers.h"

namespace espalier::prune {
namespace block_influence {

LayerScores layers(const LayersInput& input) { return by_likeness(input, cosine); }

}  // namespace block_influence

extern const Criterion k_block_influence;
const Criterion k_block_influence{
    "block_influence",
    "1 - mean cosine of input and output (ShortGPT, arXiv 2403.03853)",
    {},
    Scope::layer,
    {},
    nullptr,
    block_influence::layers};

}  // namespace espalier::prune
