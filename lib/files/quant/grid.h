// SPDX-License-Identifier: Apache-2.0
// Search over the grid of a block format: the scales that a sub-block may store, the levels that
// they give, and the bytes of chosen levels. format/grid.h has what differs between formats.
//
// value = step * level + offset, where step and offset are exactly what the stored bits decode to.
// So a method that rounds value by value (gptq.h) works on the numbers that the file will hold.
// Only block formats have a grid; f32, f16 and bf16 do not.
#pragma once
#include <cstddef>
#include <cstdint>

#include "format/grid.h"
#include "format/quant_format.h"

namespace espalier::quant {

constexpr int kMaxBlock = 256, kMaxSub = 64, kMaxSubBlocks = 16, kMaxCandidates = 9;

using format::Grid;
inline const Grid* grid_of(format::FormatId id) { return format::info(id).grid; }

// The scale of one sub-block as stored, and the step and offset that it decodes to.
struct SubScale {
  std::uint16_t d = 0, m = 0;  // formats without super-blocks: bits of scale and min
  int scale = 0, min = 0;      // K formats: integers
  float step = 0, offset = 0;
};
// The binary16 numbers of a K super-block. Other formats have none outside SubScale.
struct BlockScale {
  std::uint16_t d = 0, dmin = 0;
};
struct GridBlock {
  BlockScale scale;
  SubScale sub[kMaxSubBlocks];
  std::int8_t level[kMaxBlock];
};

// d and dmin of a K super-block for values x under weights (>= 0). Zeros for other formats.
BlockScale block_scale(const Grid& grid, const float* x, const float* weight);
// Candidate scales for sub-block values x, the best fit first. Returns their number (1 ..
// kMaxCandidates).
int scale_candidates(const Grid& grid, const BlockScale& block, const float* x, const float* weight,
                     SubScale* out);
// The same from what Grid::fit found.
int candidates_around(const Grid& grid, const BlockScale& block, float step, float offset,
                      SubScale* out);
// The stored scale nearest to a wanted step and offset.
SubScale stored_scale(const Grid& grid, const BlockScale& block, float step, float offset);
// Writes the bytes of one block. All levels and scales must be set.
void pack_block(const format::QuantFormat& format, const GridBlock& block, std::byte* out);

inline float grid_value(const SubScale& scale, int level) {
  return scale.step * static_cast<float>(level) + scale.offset;
}
// 1 / step, or 0 for a step so small that all levels have one value.
inline float inverse_step(const SubScale& scale) {
  const float inverse = scale.step == 0.0f ? 0.0f : 1.0f / scale.step;
  return inverse > 3e38f || inverse < -3e38f ? 0.0f : inverse;
}
// The nearest level. NaN gives `low`.
inline int nearest_level(const Grid& grid, const SubScale& scale, float inverse, float x) {
  const float low = static_cast<float>(grid.low), high = static_cast<float>(grid.high);
  float v = (x - scale.offset) * inverse;
  v = v > low ? v : low;
  v = v < high ? v : high;
  if (grid.codebook != nullptr) return grid.codebook->level(grid.codebook->index(v));
  return static_cast<int>(v + 512.5f) - 512;  // truncation of a positive number; |level| <= 128
}

}  // namespace espalier::quant
