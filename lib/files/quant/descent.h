// SPDX-License-Identifier: Apache-2.0
// Coordinate descent on rounded rows. It lowers (w - q)^T H (w - q) by changing one level or one
// stored scale at a time, while that helps.
#pragma once
#include <cstdint>
#include <vector>

#include "quant/grid.h"

namespace espalier::quant {

class GptqFactor;

// weights: n rows of factor.cols() values before rounding. blocks: n rows of complete blocks,
// changed in place.
void descend(const Grid& grid, const GptqFactor& factor, const float* weights, std::int64_t n,
             std::vector<GridBlock>& blocks);

}  // namespace espalier::quant
