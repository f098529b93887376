// SPDX-License-Identifier: Apache-2.0
// Candidate scales, stored scales and packing, the same for every grid.
#include "quant/grid.h"

#include <algorithm>
#include <cmath>

#include "core/half.h"

namespace espalier::quant {
namespace {

int nearest_integer(float v, int low, int high) {
  if (!(v > static_cast<float>(low))) return low;  // NaN too
  return v >= static_cast<float>(high) ? high : static_cast<int>(std::lround(v));
}

SubScale super_scale(const Grid& grid, const BlockScale& block, int scale, int min) {
  SubScale s;
  s.scale = scale;
  s.min = min;
  s.step = core::half_to_float(block.d) * static_cast<float>(scale);
  s.offset = grid.affine ? -(core::half_to_float(block.dmin) * static_cast<float>(min)) : 0.0f;
  return s;
}

int add(SubScale* out, int n, const SubScale& scale) {
  for (int i = 0; i < n; ++i)
    if (out[i].step == scale.step && out[i].offset == scale.offset) return n;
  out[n] = scale;
  return n + 1;
}

}  // namespace

BlockScale block_scale(const Grid& grid, const float* x, const float* weight) {
  if (!grid.super) return {};
  float uniform[kMaxBlock];
  format::Parts fit;
  grid.fit_super(x, format::usable_weights(weight, grid.block, uniform), fit);
  return {fit.d, grid.affine ? fit.m : std::uint16_t{0}};
}

SubScale stored_scale(const Grid& grid, const BlockScale& block, float step, float offset) {
  // Weights near the end of float's range overflow the sums of a fit.
  if (!std::isfinite(step)) step = 0;
  if (!std::isfinite(offset)) offset = 0;
  if (grid.super) {
    const float id = format::inverse(core::half_to_float(block.d));
    if (!grid.affine)
      return super_scale(grid, block, nearest_integer(step * id, grid.scale_low, grid.scale_high),
                         0);
    const float im = format::inverse(core::half_to_float(block.dmin));
    return super_scale(grid, block, nearest_integer(step * id, 0, grid.scale_high),
                       nearest_integer(-offset * im, 0, grid.scale_high));
  }
  SubScale s;
  s.d = grid.scale_bits(step);
  s.step = grid.scale_value(s.d);
  if (grid.affine) {
    s.m = grid.scale_bits(offset);
    s.offset = grid.scale_value(s.m);
  }
  return s;
}

int scale_candidates(const Grid& grid, const BlockScale& block, const float* x, const float* weight,
                     SubScale* out) {
  float uniform[kMaxBlock];
  const auto [step, offset] = grid.fit(x, format::usable_weights(weight, grid.sub, uniform));
  return candidates_around(grid, block, step, offset, out);
}

int candidates_around(const Grid& grid, const BlockScale& block, float step, float offset,
                      SubScale* out) {
  int n = add(out, 0, stored_scale(grid, block, step, offset));
  const SubScale centre = out[0];
  if (grid.super) {
    for (const int ds : {0, -1, 1})
      for (const int dm : {0, -1, 1}) {
        const int scale = centre.scale + ds, min = centre.min + dm;
        if (scale < grid.scale_low || scale > grid.scale_high || min < 0 ||
            (grid.affine && min > grid.scale_high) || (!grid.affine && dm != 0))
          continue;
        n = add(out, n, super_scale(grid, block, scale, min));
      }
    return n;
  }
  // The other candidates keep the middle of the range in place.
  const float middle = 0.5f * static_cast<float>(grid.low + grid.high + (grid.affine ? 0 : 1));
  for (const float factor : grid.nearby)
    n = add(out, n,
            stored_scale(grid, block, step * factor,
                         offset + (grid.affine ? step * (1 - factor) * middle : 0.0f)));
  return n;
}

void pack_block(const format::QuantFormat& format, const GridBlock& block, std::byte* out) {
  const Grid& grid = *format.grid;
  format::Parts parts;
  const int from = grid.signed_levels ? 0 : grid.low;
  for (int i = 0; i < grid.block; ++i)
    parts.q[i] = grid.codebook != nullptr ? grid.codebook->index(static_cast<float>(block.level[i]))
                                          : static_cast<std::uint8_t>(block.level[i] - from);
  if (grid.super) {
    std::int8_t scale[kMaxSubBlocks], min[kMaxSubBlocks];
    for (int s = 0; s < kMaxSubBlocks; ++s) {
      scale[s] = static_cast<std::int8_t>(block.sub[s].scale);
      min[s] = static_cast<std::int8_t>(block.sub[s].min);
    }
    parts.d = block.scale.d;
    parts.m = block.scale.dmin;
    grid.store_scales(scale, min, parts);
  } else {
    parts.d = block.sub[0].d;
    parts.m = block.sub[0].m;
  }
  format.put_together(parts, out);
}

}  // namespace espalier::quant
