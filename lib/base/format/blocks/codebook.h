// SPDX-License-Identifier: Apache-2.0
// Levels from a codebook: 16 signed bytes, of which an index chooses one. The nearest level, and
// for kCodebook4 (IQ4_NL, IQ4_XS) the scale search as in fit.h and super_block.h.
#pragma once
#include <algorithm>
#include <cstdint>

#include "format/blocks/blocks.h"
#include "format/blocks/codec.h"
#include "format/blocks/fit.h"

namespace espalier::format {

// Two levels meet at a multiple of one half. So the nearest level is constant between multiples,
// and a table over them finds it.
class Codebook {
 public:
  // The levels in any order.
  explicit constexpr Codebook(const std::int8_t (&levels)[16]) {
    std::copy(levels, levels + 16, level_);
    low_ = *std::min_element(levels, levels + 16);
    steps_ = 2 * (*std::max_element(levels, levels + 16) - low_);
    for (int h = 0; h <= steps_; ++h) {
      const auto twice_away = [&](int i) {
        const int away = h - 2 * (level_[i] - low_);
        return away < 0 ? -away : away;
      };
      int best = 0;
      for (int i = 1; i < 16; ++i)
        if (twice_away(i) < twice_away(best) ||
            (twice_away(i) == twice_away(best) && level_[i] > level_[best]))
          best = i;
      nearest_[h] = static_cast<std::uint8_t>(best);
    }
  }

  constexpr int level(int index) const { return level_[index]; }
  // The index of the level nearest to v. Ties round up. NaN gives the lowest level.
  std::uint8_t index(float v) const {
    return nearest_[format::level(2.0f * (v - static_cast<float>(low_)), steps_)];
  }

 private:
  std::int8_t level_[16] = {};
  int low_ = 0, steps_ = 0;
  std::uint8_t nearest_[2 * 255 + 1] = {};  // entry h: on [h, h + 1) / 2 + low_
};
inline constexpr Codebook kIq4(kCodebook4);
// Twice the FP4 numbers E2M1 (MXFP4).
inline constexpr std::int8_t kFp4Levels[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                               0, -1, -2, -3, -4, -6, -8, -12};
inline constexpr Codebook kFp4(kFp4Levels);

// Finds d for x[i] ~ d * level[i], with levels from kCodebook4. d may be negative.
float fit_codebook(const WeightedGroup<32>& group);

// x = (d * scale) * level[q]
struct CodebookSuperBlock {
  std::uint16_t d = 0;
  std::int8_t scale[kSuperBlock / kBlock32] = {};  // -32..31
  std::uint8_t q[kSuperBlock] = {};                // 0..15
};
CodebookSuperBlock fit_codebook_super_block(const float* x, const float* weight);

}  // namespace espalier::format
