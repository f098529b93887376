// SPDX-License-Identifier: Apache-2.0
// Searches for the scales of a super-block in each lane: blocks/super_block.cpp and
// blocks/codebook.cpp say what they do and why. Levels are not kept between the steps: scales and
// values give them again. Included inside a namespace of one instruction set.

// A state of the search. Lanes that have ended keep theirs.
struct SuperState {
  StoredHalf d, m;
  V scale[16], min[16];
};
ESP_INLINE void keep(SuperState& best, const SuperState& now, int groups, I lanes) {
  best.d = {select(lanes, now.d.bits, best.d.bits), select(lanes, now.d.value, best.d.value)};
  best.m = {select(lanes, now.m.bits, best.m.bits), select(lanes, now.m.value, best.m.value)};
  for (int g = 0; g < groups; ++g) {
    best.scale[g] = select(lanes, now.scale[g], best.scale[g]);
    best.min[g] = select(lanes, now.min[g], best.min[g]);
  }
}
ESP_INLINE void put(StoredHalf& out, D value, M where) {
  const StoredHalf next = stored_half(narrow(value));
  const I lanes = narrow(where);
  out.bits = select(lanes, next.bits, out.bits);
  out.value = select(lanes, next.value, out.value);
}

// x ~ step * q - min, with q in 0 .. highest. The levels of K formats.
template <int kN>
struct EvenGroup {
  static constexpr int kSize = kN;
  V top;

  struct Scale {
    V step, min, id;
  };
  ESP_INLINE Scale scale(V step, V min) const { return {step, min, inverse_of(step)}; }
  ESP_INLINE V level(const Scale& s, V x) const {
    const V v = (x - -s.min) * s.id + 0.5f;
    return truncated(smaller(larger(v, V{}), top));
  }
  ESP_INLINE V difference(const Scale& s, V q, V x) const { return s.step * q - s.min - x; }
  ESP_INLINE I stored(V q) const { return to_int(q); }
};
// x ~ step * level. The levels kCodebook4.
struct CurveGroup {
  static constexpr int kSize = 32;

  struct Scale {
    V step, id;
  };
  ESP_INLINE Scale scale(V step, V) const { return {step, inverse_of(step)}; }
  ESP_INLINE V level(const Scale& s, V x) const { return CurveLevels()(x * s.id); }
  ESP_INLINE V difference(const Scale& s, V q, V x) const { return s.step * q - x; }
};

template <typename Levels>
ESP_APART V group_error(const Levels& levels, const typename Levels::Scale& scale, const float* x,
                        const float* weight) {
  FourSums sum;
  for (int i = 0; i < Levels::kSize; i += 4)
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) {
      const V v = load(x + (i + l) * kLanes);
      const V off = levels.difference(scale, levels.level(scale, v), v);
      sum.part[l] += load(weight + (i + l) * kLanes) * off * off;
    }
  return sum.total();
}

// Tries the integers beside `scale` and `min`. Replaces them, and returns the least error.
template <typename Levels>
struct Refine {
  const Levels& levels;
  const Grid& grid;
  V d, m;

  ESP_INLINE typename Levels::Scale scale_of(V scale, V min) const {
    const V step = d * scale;
    return levels.scale(step, grid.affine ? m * min : -static_cast<float>(grid.low) * step);
  }
  ESP_INLINE V operator()(const float* x, const float* weight, V& scale, V& min) const {
    const V low = splat(static_cast<float>(grid.scale_low)),
            high = splat(static_cast<float>(grid.scale_high));
    const V scale_centre = scale, min_centre = min;
    const float reach = grid.affine ? 1.0f : 0.0f;
    V best = splat(INFINITY);
    for (float ds = -1; ds <= 1; ++ds)
      for (float dm = -reach; dm <= reach; ++dm) {
        const V s = scale_centre + ds, n = min_centre + dm;
        const I allowed = (s >= low) & (s <= high) & (n >= V{}) & (n <= high);
        const V error = group_error(levels, scale_of(s, n), x, weight);
        const I better = allowed & (error < best);
        best = select(better, error, best);
        scale = select(better, s, scale);
        min = select(better, n, min);
      }
    return best;
  }
};

// Sums for the d and the m of least weighted squared error, a = scale * level, b = -min.
struct SuperSums {
  D aa{}, ab{}, bb{}, ax{}, bx{};
};
template <typename Levels>
ESP_INLINE void add_group(SuperSums& sums, const Refine<Levels>& by, V scale, V min, const float* x,
                          const float* weight) {
  const auto s = by.scale_of(scale, min);
  const D b = wide(-min);
  for (int i = 0; i < Levels::kSize; ++i) {
    const V value = load(x + i * kLanes);
    V q = by.levels.level(s, value);
    if (!by.grid.affine && by.grid.codebook == nullptr) q += static_cast<float>(by.grid.low);
    const D w = wide(load(weight + i * kLanes)), a = wide(scale * q), v = wide(value), wa = w * a;
    sums.aa = sums.aa + wa * a;
    sums.ax = sums.ax + wa * v;
    if (!by.grid.affine) continue;
    const D wb = w * b;
    sums.ab = sums.ab + wa * b;
    sums.bb = sums.bb + wb * b;
    sums.bx = sums.bx + wb * v;
  }
}
ESP_INLINE void solve(const SuperSums& s, bool affine, SuperState& state) {
  if (!affine) return put(state.d, s.ax / s.aa, s.aa > D{});
  const D determinant = s.aa * s.bb - s.ab * s.ab;
  const M alone = (s.bb == D{}) & (s.aa > D{}),
          both = (determinant > splat_double(1e-9) * s.aa * s.bb) & ~alone;
  const D d = (s.ax * s.bb - s.bx * s.ab) / determinant,
          m = (s.aa * s.bx - s.ab * s.ax) / determinant;
  const M positive = both & (d > D{}) & (m > D{});
  put(state.d, select(alone, s.ax / s.aa, d), alone | positive);
  put(state.m, m, positive);
}

template <typename Levels>
struct SuperSearch {
  const Levels& levels;
  const Grid& grid;
  const float *x, *weight;
  int groups;

  ESP_INLINE Refine<Levels> refine(const SuperState& state) const {
    return {levels, grid, state.d.value, state.m.value};
  }
  ESP_INLINE int at(int group) const { return group * Levels::kSize * kLanes; }

  // The scales that each group would choose alone, rounded to integers.
  ESP_INLINE void begin(SuperState& state, V (&scale)[16], V (&min)[16]) const {
    V top_scale = grid.affine ? V{} : scale[0], top_min{};
    for (int g = 0; g < groups; ++g) {
      const V size = grid.affine ? scale[g] : absolute(scale[g]);
      const V top = grid.affine ? top_scale : absolute(top_scale);
      top_scale = select(top < size, scale[g], top_scale);
      top_min = select(top_min < -min[g], -min[g], top_min);
    }
    const float last = static_cast<float>(grid.affine ? grid.scale_high : grid.scale_low);
    state.d = stored_half(top_scale / last);
    state.m = grid.affine ? stored_half(top_min / last) : StoredHalf{};
    const V id = inverse_of(state.d.value), im = inverse_of(state.m.value);
    const EvenLevels integers(grid.scale_low, grid.scale_high);
    for (int g = 0; g < groups; ++g) {
      const V s = scale[g] * id;
      state.scale[g] = grid.codebook == nullptr
                           ? integers(s)
                           : truncated(smaller(larger(s + 32.5f, V{}), splat(63))) - 32.0f;
      state.min[g] = grid.affine ? integers(-min[g] * im) : V{};
    }
  }

  // Returns the lanes that found a finite error.
  ESP_INLINE I run(SuperState& best) const {
    SuperState now = best;
    V least = splat(INFINITY);
    I running = V{} == V{};
    for (int round = 0; round < kSuperRounds; ++round) {
      const Refine<Levels> by = refine(now);
      V error{};
      for (int g = 0; g < groups; ++g)
        error += by(x + at(g), weight + at(g), now.scale[g], now.min[g]);
      running &= error < least;
      if (!any(running)) break;
      least = select(running, error, least);
      keep(best, now, groups, running);
      if (round + 1 == kSuperRounds) break;
      SuperSums sums;
      for (int g = 0; g < groups; ++g)
        add_group(sums, by, now.scale[g], now.min[g], x + at(g), weight + at(g));
      solve(sums, grid.affine, now);
    }
    return least < splat(INFINITY);
  }

  // Levels as stored, of the lanes from `lane` on. Where nothing was found, all are level 0.
  ESP_INLINE void write_levels(const SuperState& state, I found, int lane, SuperLanes& out) const {
    const Refine<Levels> by = refine(state);
    const I zero = splat_int(grid.codebook != nullptr ? grid.codebook->index(0.0f) : -grid.low);
    for (int g = 0; g < groups; ++g) {
      const auto s = by.scale_of(state.scale[g], state.min[g]);
      for (int i = 0; i < Levels::kSize; i += 4) {
        I word{};
        for (int k = 0; k < 4; ++k) {
          const V v = load(x + at(g) + (i + k) * kLanes);
          I q;
          if constexpr (requires { levels.stored(v); })
            q = levels.stored(levels.level(s, v));
          else
            q = CurveLevels().index(v * s.id);
          word |= select(found, q, zero) << (8 * k);
        }
        for (int l = 0; l < kWidth; ++l) {
          const std::int32_t four = word[l];
          std::memcpy(&out.q[lane + l][g * Levels::kSize + i], &four, sizeof four);
        }
      }
    }
  }
};

ESP_INLINE void write_scales(const SuperState& state, int groups, int lane, SuperLanes& out) {
  for (int l = 0; l < kWidth; ++l) {
    out.d[lane + l] = static_cast<std::uint16_t>(state.d.bits[l]);
    out.m[lane + l] = static_cast<std::uint16_t>(state.m.bits[l]);
  }
  for (int g = 0; g < groups; ++g) {
    const I scale = to_int(state.scale[g]), min = to_int(state.min[g]);
    for (int l = 0; l < kWidth; ++l) {
      out.scale[lane + l][g] = static_cast<std::int8_t>(scale[l]);
      out.min[lane + l][g] = static_cast<std::int8_t>(min[l]);
    }
  }
}

template <typename Levels>
void super_of(const Levels& levels, const Grid& grid, const float* x, const float* weight,
              bool with_levels, SuperLanes& out) {
  constexpr int kSize = Levels::kSize, kGroups = kSuperBlock / kSize;
  float step[kLanes], offset[kLanes];
  V scale[kLanes / kWidth][16], min[kLanes / kWidth][16];
  for (int g = 0; g < kGroups; ++g) {
    fit(grid, x + g * kSize * kLanes, weight + g * kSize * kLanes, step, offset);
    for (int part = 0; part < kLanes / kWidth; ++part) {
      scale[part][g] = load(step + part * kWidth);
      min[part][g] = load(offset + part * kWidth);
    }
  }
  for (int part = 0; part < kLanes / kWidth; ++part) {
    const int lane = part * kWidth;
    const SuperSearch<Levels> search{levels, grid, x + lane, weight + lane, kGroups};
    SuperState state{};
    search.begin(state, scale[part], min[part]);
    const I found = search.run(state);
    write_scales(state, kGroups, lane, out);
    if (with_levels) search.write_levels(state, found, lane, out);
  }
}

inline void fit_super(const Grid& grid, const float* x, const float* weight, bool levels,
                      SuperLanes& out) {
  if (grid.codebook != nullptr) return super_of(CurveGroup{}, grid, x, weight, levels, out);
  const V top = splat(static_cast<float>(grid.high - grid.low));
  if (grid.sub == 32) return super_of(EvenGroup<32>{top}, grid, x, weight, levels, out);
  super_of(EvenGroup<16>{top}, grid, x, weight, levels, out);
}

// importance, where a group has any above 0.
ESP_INLINE void group_weights(const float* importance, int n, float* weight) {
  I some{};
  for (int i = 0; i < n; ++i) some |= load(importance + i * kLanes) > V{};
  for (int i = 0; i < n; ++i)
    store(weight + i * kLanes, select(some, load(importance + i * kLanes), splat(1)));
}
inline void super_weights(const Grid& grid, const float* x, const float* importance,
                          float* weight) {
  const int n = grid.sub;
  for (int lane = 0; lane < kLanes; lane += kWidth)
    for (int at = lane; at < kSuperBlock * kLanes; at += n * kLanes) {
      if (importance != nullptr) {
        group_weights(importance + at, n, weight + at);
        continue;
      }
      V squares{}, rms;
      for (int i = 0; i < n; ++i) {
        const V v = load(x + at + i * kLanes);
        squares += v * v;
      }
      squares /= static_cast<float>(n);
      for (int l = 0; l < kWidth; ++l) rms[l] = std::sqrt(squares[l]);
      const I usable = (rms > V{}) & is_finite(rms);
      for (int i = 0; i < n; ++i)
        store(weight + at + i * kLanes,
              select(usable, 1.0f + absolute(load(x + at + i * kLanes)) / rms, splat(1)));
    }
}
