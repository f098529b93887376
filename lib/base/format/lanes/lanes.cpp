// SPDX-License-Identifier: Apache-2.0
// The vector searches, compiled once for the processors that everything runs on and once for AVX2.
// What differs between processors is the width alone.
#include "format/lanes/lanes.h"

#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "format/blocks/super_block.h"
#include "format/lanes/region.h"

#define ESP_WIDTH 4
namespace espalier::format::lanes_baseline {
namespace {
#include "format/lanes/vector-inl.h"
#include "format/lanes/interleave-inl.h"
#include "format/lanes/levels-inl.h"
#include "format/lanes/fit-inl.h"
#include "format/lanes/super-inl.h"
#include "format/lanes/small-inl.h"
}  // namespace
}  // namespace espalier::format::lanes_baseline
#undef ESP_WIDTH
#undef ESP_INLINE
#undef ESP_APART

#ifdef ESP_HAS_AVX2_REGION
#pragma GCC push_options
#pragma GCC target("avx2")
#define ESP_WIDTH 8
#define ESP_AVX2
namespace espalier::format::lanes_avx2 {
namespace {
#include "format/lanes/vector-inl.h"
#include "format/lanes/interleave-inl.h"
#include "format/lanes/levels-inl.h"
#include "format/lanes/fit-inl.h"
#include "format/lanes/super-inl.h"
#include "format/lanes/small-inl.h"
}  // namespace
}  // namespace espalier::format::lanes_avx2
#undef ESP_AVX2
#undef ESP_WIDTH
#undef ESP_INLINE
#undef ESP_APART
#pragma GCC pop_options
#endif

namespace espalier::format {
namespace {

constexpr LaneSearch kSearches[] = {
    {"baseline", [] { return true; }, lanes_baseline::interleave, lanes_baseline::fit,
     lanes_baseline::fit_super, lanes_baseline::super_weights, lanes_baseline::round_small},
#ifdef ESP_HAS_AVX2_REGION
    {"avx2", [] { return __builtin_cpu_supports("avx2") != 0; }, lanes_avx2::interleave,
     lanes_avx2::fit, lanes_avx2::fit_super, lanes_avx2::super_weights, lanes_avx2::round_small},
#endif
};

}  // namespace

std::span<const LaneSearch> lane_searches() { return kSearches; }

const LaneSearch& lane_search() {
  static const LaneSearch& best = last_runnable(kSearches);
  return best;
}

void encode_super_lanes(const Grid& grid, const float* x, const float* importance,
                        SuperLanes& out) {
  float values[kSuperBlock * kLanes], weight[kSuperBlock * kLanes];
  const LaneSearch& search = lane_search();
  search.interleave(x, kSuperBlock, kSuperBlock, values);
  if (importance == nullptr) {
    search.super_weights(grid, values, nullptr, weight);
  } else {
    float given[kSuperBlock * kLanes];
    search.interleave(importance, kSuperBlock, kSuperBlock, given);
    search.super_weights(grid, values, given, weight);
  }
  search.fit_super(grid, values, weight, true, out);
}

void encode_small_lanes(const Grid& grid, const float* x, const float* importance,
                        SmallLanes& out) {
  float values[kBlock32 * kLanes], given[kBlock32 * kLanes];
  const LaneSearch& search = lane_search();
  search.interleave(x, kBlock32, kBlock32, values);
  if (importance != nullptr) search.interleave(importance, kBlock32, kBlock32, given);
  search.round_small(grid, values, importance != nullptr ? given : nullptr, out);
}

}  // namespace espalier::format
