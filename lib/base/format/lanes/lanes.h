// SPDX-License-Identifier: Apache-2.0
// The scale searches of fit.h, codebook.h and super_block.h for kLanes blocks at once: a lane of a
// vector is a block. Each lane does the operations of the plain search in the same order, so
// results are equal, bit by bit, on every processor. The plain searches stay the definition.
//
// Values of lanes lie value by value: value i of lane l at [i * kLanes + l].
#pragma once
#include <cstdint>
#include <span>

#include "format/grid.h"

namespace espalier::format {

// What fit_affine_super_block() and its kin find, for each lane.
struct SuperLanes {
  std::uint16_t d[kLanes], m[kLanes];  // m: of formats with an offset, else 0
  std::int8_t scale[kLanes][16], min[kLanes][16];
  std::uint8_t q[kLanes][256];  // levels as stored
};
// The same of a block of 32 values.
struct SmallLanes {
  std::uint16_t d[kLanes], m[kLanes];
  std::uint8_t q[kLanes][32];
};

// One row for each instruction set that is compiled in.
struct LaneSearch {
  const char* isa;
  bool (*runnable)();
  // From n values of each of kLanes blocks, which begin `stride` apart, to [n, kLanes]. n is a
  // multiple of 8.
  void (*interleave)(const float* blocks, std::int64_t stride, int n, float* out);
  // Grid::fit of each lane. x and weight: [grid.sub, kLanes].
  void (*fit)(const Grid& grid, const float* x, const float* weight, float* step, float* offset);
  // Grid::fit_super of each lane. x and weight: [grid.block, kLanes]. Without `levels`, q is left
  // out.
  void (*fit_super)(const Grid& grid, const float* x, const float* weight, bool levels,
                    SuperLanes& out);
  // Sets weights of kLanes super-blocks as super_block_weights() does. x, importance (or null) and
  // weight: [kSuperBlock, kLanes].
  void (*super_weights)(const Grid& grid, const float* x, const float* importance, float* weight);
  // The encoders of simple.h. x and importance (or null): [32, kLanes].
  void (*round_small)(const Grid& grid, const float* x, const float* importance, SmallLanes& out);
};

// In order of preference: the last runnable one is the best. The first runs everywhere.
std::span<const LaneSearch> lane_searches();
const LaneSearch& lane_search();  // the best

// What encode() does for kLanes consecutive blocks. importance may be null.
void encode_super_lanes(const Grid& grid, const float* x, const float* importance, SuperLanes& out);
void encode_small_lanes(const Grid& grid, const float* x, const float* importance, SmallLanes& out);

}  // namespace espalier::format
