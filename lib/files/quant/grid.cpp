// SPDX-License-Identifier: Apache-2.0
// Candidate scales, stored scales and packing for the grids of all block formats.
#include "quant/grid.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/half.h"
#include "format/blocks/codec.h"
#include "format/blocks/fit.h"
#include "format/blocks/super_block.h"

namespace espalier::quant {
namespace {

using format::FormatId;

// Q8_0 leaves -128 unused, as its encoders do. Kernels that take absolute values of int8 rely on
// it.
// clang-format off
constexpr Grid kGrids[] = {
    {FormatId::q2_0, 64,  64,   -1,   2, false, false},
    {FormatId::q4_0, 32,  32,   -8,   7, false, false},
    {FormatId::q4_1, 32,  32,    0,  15, true,  false},
    {FormatId::q5_0, 32,  32,  -16,  15, false, false},
    {FormatId::q5_1, 32,  32,    0,  31, true,  false},
    {FormatId::q8_0, 32,  32, -127, 127, false, false},
    {FormatId::q2_k, 256, 16,    0,   3, true,  true, 0, 15},
    {FormatId::q3_k, 256, 16,   -4,   3, false, true, -32, 31},
    {FormatId::q4_k, 256, 32,    0,  15, true,  true, 0, 63},
    {FormatId::q5_k, 256, 32,    0,  31, true,  true, 0, 63},
    {FormatId::q6_k, 256, 16,  -32,  31, false, true, -128, 127},
    {FormatId::iq4_nl, 32,  32, -127, 113, false, false, 0, 0, true},
    {FormatId::iq4_xs, 256, 32, -127, 113, false, true, -32, 31, true},
};
// clang-format on

int nearest_integer(float v, int low, int high) {
  if (!(v > static_cast<float>(low))) return low;  // NaN too
  return v >= static_cast<float>(high) ? high : static_cast<int>(std::lround(v));
}

SubScale super_scale(const Grid& grid, const GridBlock& block, int scale, int min) {
  SubScale s;
  s.scale = scale;
  s.min = min;
  s.step = core::half_to_float(block.d) * static_cast<float>(scale);
  s.offset = grid.affine ? -(core::half_to_float(block.dmin) * static_cast<float>(min)) : 0.0f;
  return s;
}

// The least-squares scale of the values under the weights, in float.
void fit(const Grid& grid, const float* x, const float* weight, float& step, float& offset) {
  offset = 0;
  if (grid.codebook) {
    step = format::fit_codebook(format::WeightedGroup<32>(x, weight));
  } else if (grid.affine) {
    const format::Affine a =
        grid.sub == 16
            ? format::fit_affine(format::WeightedGroup<16>(x, weight), grid.high, grid.super)
            : format::fit_affine(format::WeightedGroup<32>(x, weight), grid.high, grid.super);
    step = a.scale;
    offset = a.min;
  } else if (grid.sub == 64) {
    step = format::fit_scale_exactly(x, weight, grid.sub, grid.low, grid.high);
  } else if (grid.sub == 32) {
    step = format::fit_scale(format::WeightedGroup<32>(x, weight), grid.low, grid.high);
  } else {
    step = format::fit_scale(format::WeightedGroup<16>(x, weight), grid.low, grid.high);
  }
}

int add(SubScale* out, int n, const SubScale& scale) {
  for (int i = 0; i < n; ++i)
    if (out[i].step == scale.step && out[i].offset == scale.offset) return n;
  out[n] = scale;
  return n + 1;
}

template <typename Block>
void pack_simple(const GridBlock& b, const std::uint8_t* q, std::byte* out) {
  Block packed{};
  packed.d = b.sub[0].d;
  if constexpr (requires { packed.m; }) packed.m = b.sub[0].m;
  if constexpr (requires { packed.qh; }) format::pack_fifth_bits(q, packed.qh);
  format::pack_nibbles(q, packed.qs);
  format::store_block(packed, out, 0);
}

// lib/base/format/blocks/q4_k.cpp, q5_k.cpp and q6_k.cpp draw the layouts of the K formats.
template <typename Block>
void pack_affine_super(const GridBlock& b, const std::uint8_t* q, std::byte* out) {
  Block packed{};
  packed.d = b.d;
  packed.dmin = b.dmin;
  std::uint8_t scale[format::kAffineGroups], min[format::kAffineGroups];
  for (int g = 0; g < format::kAffineGroups; ++g) {
    scale[g] = static_cast<std::uint8_t>(b.sub[g].scale);
    min[g] = static_cast<std::uint8_t>(b.sub[g].min);
  }
  format::pack_scales6(scale, min, packed.scales);
  for (int g = 0; g < format::kAffineGroups; ++g)
    for (int i = 0; i < 32; ++i) {
      const int level = q[g * 32 + i];
      std::uint8_t& low = packed.qs[g / 2 * 32 + i];
      low = static_cast<std::uint8_t>(low | (level & 15) << (g % 2 * 4));
      if constexpr (requires { packed.qh; })
        packed.qh[i] = static_cast<std::uint8_t>(packed.qh[i] | (level >> 4) << g);
    }
  format::store_block(packed, out, 0);
}

void pack_q6_k(const GridBlock& b, const std::uint8_t* q, std::byte* out) {
  format::BlockQ6_K packed{};
  packed.d = b.d;
  for (int g = 0; g < format::kScaledGroups; ++g)
    packed.scales[g] = static_cast<std::int8_t>(b.sub[g].scale);
  for (int i = 0; i < format::kSuperBlock; ++i) {
    const int half = i / 128, k = i % 128 / 32, j = i % 32;
    std::uint8_t& low = packed.ql[64 * half + 32 * (k % 2) + j];
    std::uint8_t& high = packed.qh[32 * half + j];
    low = static_cast<std::uint8_t>(low | (q[i] & 15) << (k / 2 * 4));
    high = static_cast<std::uint8_t>(high | (q[i] >> 4) << (2 * k));
  }
  format::store_block(packed, out, 0);
}

}  // namespace

const Grid* grid_of(FormatId id) {
  for (const Grid& g : kGrids)
    if (g.id == id) return &g;
  return nullptr;
}

void begin_block(const Grid& grid, const float* x, const float* weight, GridBlock& block) {
  if (!grid.super) return;
  float uniform[kMaxBlock];
  weight = format::usable_weights(weight, grid.block, uniform);
  if (grid.affine) {
    const format::AffineSuperBlock fit =
        grid.sub == 16 ? format::fit_affine_super_block16(x, weight, grid.high, grid.scale_high)
                       : format::fit_affine_super_block(x, weight, grid.high);
    block.d = fit.d;
    block.dmin = fit.dmin;
  } else if (grid.codebook) {
    block.d = format::fit_codebook_super_block(x, weight).d;
  } else {
    block.d = format::fit_scaled_super_block(x, weight, {-grid.low, -grid.scale_low}).d;
  }
}

SubScale stored_scale(const Grid& grid, const GridBlock& block, float step, float offset) {
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
  s.d = format::scale_bits(step);
  s.step = core::half_to_float(s.d);
  if (grid.affine) {
    s.m = format::scale_bits(offset);
    s.offset = core::half_to_float(s.m);
  }
  return s;
}

int scale_candidates(const Grid& grid, const GridBlock& block, const float* x, const float* weight,
                     SubScale* out) {
  float uniform[kMaxBlock];
  weight = format::usable_weights(weight, grid.sub, uniform);
  float step = 0, offset = 0;
  fit(grid, x, weight, step, offset);
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
  for (const float factor : {0.96f, 1.04f, 0.92f, 1.08f, 0.88f})
    n = add(out, n,
            stored_scale(grid, block, step * factor,
                         offset + (grid.affine ? step * (1 - factor) * middle : 0.0f)));
  return n;
}

void pack_block(const Grid& grid, const GridBlock& block, std::byte* out) {
  std::uint8_t q[kMaxBlock];
  const int shift = grid.affine ? 0 : -grid.low;  // stored levels count from 0
  const auto stored = [&](std::int8_t level) {
    return grid.codebook ? format::codebook_index(static_cast<float>(level))
                         : static_cast<std::uint8_t>(level + shift);
  };
  std::transform(block.level, block.level + grid.block, q, stored);
  std::int8_t scale[kMaxSubBlocks];
  for (int s = 0; s < kMaxSubBlocks; ++s) scale[s] = static_cast<std::int8_t>(block.sub[s].scale);
  switch (grid.id) {
    case FormatId::q2_0: {
      format::BlockQ2_0 packed{block.sub[0].d, {}};
      format::pack_bit_pairs(q, packed.qs);
      return format::store_block(packed, out, 0);
    }
    case FormatId::q4_0:
      return pack_simple<format::BlockQ4_0>(block, q, out);
    case FormatId::q4_1:
      return pack_simple<format::BlockQ4_1>(block, q, out);
    case FormatId::q5_0:
      return pack_simple<format::BlockQ5_0>(block, q, out);
    case FormatId::q5_1:
      return pack_simple<format::BlockQ5_1>(block, q, out);
    case FormatId::q8_0: {
      format::BlockQ8_0 packed{};
      packed.d = block.sub[0].d;
      std::copy(block.level, block.level + format::kBlock32, packed.qs);
      return format::store_block(packed, out, 0);
    }
    case FormatId::iq4_nl:
      return pack_simple<format::BlockIQ4_NL>(block, q, out);
    case FormatId::iq4_xs:
      return format::store_block(format::pack_iq4_xs(block.d, scale, q), out, 0);
    case FormatId::q2_k: {
      format::BlockQ2_K packed{{}, {}, block.d, block.dmin};
      for (int g = 0; g < format::kScaledGroups; ++g)
        packed.scales[g] = static_cast<std::uint8_t>(block.sub[g].scale | block.sub[g].min << 4);
      format::pack_super_pairs(q, packed.qs);
      return format::store_block(packed, out, 0);
    }
    case FormatId::q3_k:
      return format::store_block(format::pack_q3_k(block.d, scale, q), out, 0);
    case FormatId::q4_k:
      return pack_affine_super<format::BlockQ4_K>(block, q, out);
    case FormatId::q5_k:
      return pack_affine_super<format::BlockQ5_K>(block, q, out);
    case FormatId::q6_k:
      return pack_q6_k(block, q, out);
    case FormatId::f32:
    case FormatId::f16:
    case FormatId::bf16:
      break;
  }
  ESP_ASSERT(false);
}

}  // namespace espalier::quant
