// SPDX-License-Identifier: Apache-2.0
// The encoders of blocks/simple.h in each lane: blocks of 32 values with evenly spaced levels, and
// the searched formats of blocks/iq4_nl.cpp. Included inside a namespace of one instruction set.

// A rounded block: what it stores, and the values it decodes to are step * level + offset. The
// scale of MXFP4 is the exponent that it stores.
struct SmallBlock {
  StoredHalf d, m;
  V level[32];  // as stored, less the lowest one
};

// id: the factor that leads to levels. Formats round by the scale before it is stored, or after.
ESP_INLINE void take_levels(const Grid& grid, const V (&x)[32], V start, V id, SmallBlock& out) {
  if (grid.codebook == &kFp4) {
    for (int i = 0; i < 32; ++i) out.level[i] = Fp4Levels()(x[i] * id);
  } else if (grid.codebook != nullptr) {
    for (int i = 0; i < 32; ++i) out.level[i] = CurveLevels()(x[i] * id);
  } else if (grid.signed_levels) {  // half away from zero
    const V high = splat(static_cast<float>(grid.high));
    for (int i = 0; i < 32; ++i) {
      const V v = x[i] * id, size = truncated(smaller(larger(absolute(v) + 0.5f, V{}), high));
      out.level[i] = select(v < V{}, -size, size);
    }
  } else {
    const float half = grid.affine ? 0.5f : 0.5f - static_cast<float>(grid.low);
    const V top = splat(static_cast<float>(grid.high - grid.low));
    for (int i = 0; i < 32; ++i) {
      const V v = (grid.affine ? x[i] - start : x[i]) * id + half;
      out.level[i] = truncated(smaller(larger(v, V{}), top)) + static_cast<float>(grid.low);
    }
  }
}

ESP_INLINE void nearest_small(const Grid& grid, const V (&x)[32], SmallBlock& out) {
  V d, start{};
  if (grid.affine) {
    V low = x[0], high = x[0];
    for (int i = 1; i < 32; ++i) {
      low = smaller(x[i], low);
      high = select(x[i] < high, high, x[i]);
    }
    d = (high - low) / static_cast<float>(grid.high);
    start = low;
  } else if (grid.signed_levels) {
    d = absolute(extreme_of(x)) / static_cast<float>(grid.high);
  } else {
    d = extreme_of(x) / static_cast<float>(grid.low);
  }
  out.d = stored_half(d);
  out.m = grid.affine ? stored_half(start) : StoredHalf{};
  take_levels(grid, x, start, inverse_of(d), out);
}

ESP_INLINE void searched_small(const Grid& grid, const Group<32>& group, SmallBlock& out) {
  if (grid.affine) {
    const AffineFit fit = fit_affine_lanes(group, grid.high, false);
    out.d = stored_half(fit.scale);
    out.m = stored_half(fit.min);
  } else if (grid.codebook == &kFp4) {
    const I e = fit_exponent_lanes(group);
    out.d = {e, fp4_scale(e)};
    out.m = StoredHalf{};
  } else {
    out.d = stored_half(grid.codebook != nullptr ? fit_codebook_lanes(group)
                                                 : fit_scale_lanes(group, grid.low, grid.high));
    out.m = StoredHalf{};
  }
  take_levels(grid, group.x, out.m.value, inverse_of(out.d.value), out);
}

ESP_INLINE D error_of(const SmallBlock& block, bool affine, const Group<32>& group) {
  D sum{};
  for (int i = 0; i < 32; ++i) {
    V decoded = block.d.value * block.level[i];
    if (affine) decoded += block.m.value;
    const D off = wide(group.x[i]) - wide(decoded);
    sum = sum + wide(group.w[i]) * off * off;
  }
  return sum;
}

ESP_INLINE void write_small(const Grid& grid, const SmallBlock& block, int lane, SmallLanes& out) {
  const float from = grid.signed_levels ? 0.0f : static_cast<float>(grid.low);
  for (int l = 0; l < kWidth; ++l) {
    out.d[lane + l] = static_cast<std::uint16_t>(block.d.bits[l]);
    out.m[lane + l] = static_cast<std::uint16_t>(block.m.bits[l]);
  }
  for (int i = 0; i < 32; i += 4) {
    I word{};
    for (int k = 0; k < 4; ++k) {
      I q;
      if (grid.codebook == &kFp4)
        q = Fp4Levels().index(block.level[i + k]);
      else if (grid.codebook != nullptr)
        q = CurveLevels().index(block.level[i + k]);
      else
        q = to_int(block.level[i + k] - from);
      word |= (q & splat_int(255)) << (8 * k);
    }
    for (int l = 0; l < kWidth; ++l) {
      const std::int32_t four = word[l];
      std::memcpy(&out.q[lane + l][i], &four, sizeof four);
    }
  }
}

ESP_INLINE void round_part(const Grid& grid, const float* x, const float* weight, int lane,
                           SmallLanes& out) {
  SmallBlock best;
  if (weight == nullptr) {
    V values[32];
    for (int i = 0; i < 32; ++i) values[i] = load(x + i * kLanes);
    nearest_small(grid, values, best);
    return write_small(grid, best, lane, out);
  }
  const Group<32> group(x, weight);
  if (grid.codebook != nullptr) {
    searched_small(grid, group, best);
    return write_small(grid, best, lane, out);
  }
  nearest_small(grid, group.x, best);
  SmallBlock other;
  searched_small(grid, group, other);
  const I better = narrow(error_of(other, grid.affine, group) < error_of(best, grid.affine, group));
  best.d.bits = select(better, other.d.bits, best.d.bits);
  best.m.bits = select(better, other.m.bits, best.m.bits);
  for (int i = 0; i < 32; ++i) best.level[i] = select(better, other.level[i], best.level[i]);
  write_small(grid, best, lane, out);
}

// Formats with a codebook search in any case.
inline void round_small(const Grid& grid, const float* x, const float* importance,
                        SmallLanes& out) {
  float weight[32 * kLanes];
  for (int lane = 0; lane < kLanes; lane += kWidth) {
    if (importance != nullptr)
      group_weights(importance + lane, 32, weight + lane);
    else if (grid.codebook != nullptr)
      for (int i = 0; i < 32; ++i) store(weight + lane + i * kLanes, splat(1));
    const bool weighted = importance != nullptr || grid.codebook != nullptr;
    round_part(grid, x + lane, weighted ? weight + lane : nullptr, lane, out);
  }
}
