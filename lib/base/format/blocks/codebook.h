// SPDX-License-Identifier: Apache-2.0
// Levels from a codebook (IQ4_NL, IQ4_XS): the nearest level, and the scale search as in fit.h and
// super_block.h.
#pragma once
#include <cstdint>

#include "format/blocks/blocks.h"
#include "format/blocks/fit.h"

namespace espalier::format {

// The index of the level in kCodebook4 nearest to v. Ties round up. NaN gives the lowest level.
std::uint8_t codebook_index(float v);

// Finds d for x[i] ~ d * level[i], with levels from kCodebook4. d may be negative.
float fit_codebook(const WeightedGroup<32>& group);

// x = (d * scale) * level[q]
struct CodebookSuperBlock {
  std::uint16_t d = 0;
  std::int8_t scale[kSuperBlock / kBlock32] = {};  // -32..31
  std::uint8_t q[kSuperBlock] = {};                // 0..15
};
CodebookSuperBlock fit_codebook_super_block(const float* x, const float* weight);

// Packs 8 scales of -32..31 and 256 indices. iq4_xs.cpp draws the layout.
BlockIQ4_XS pack_iq4_xs(std::uint16_t d, const std::int8_t* scale, const std::uint8_t* q);

}  // namespace espalier::format
