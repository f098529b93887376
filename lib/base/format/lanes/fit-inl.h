// SPDX-License-Identifier: Apache-2.0
// Searches for the scales of a sub-block in each lane: blocks/fit.cpp and blocks/codebook.cpp say
// what they do and why. Included inside a namespace of one instruction set.

// The values of a lane's group with their weights.
template <int N>
struct Group {
  V x[N], w[N], wx[N];

  ESP_INLINE Group(const float* values, const float* weights) {
    for (int i = 0; i < N; ++i) {
      x[i] = load(values + i * kLanes);
      w[i] = load(weights + i * kLanes);
      wx[i] = w[i] * x[i];
    }
  }
};

// lane_sum() of blocks/fit.h adds in this order.
struct FourSums {
  V part[4] = {};
  ESP_INLINE V total() const { return (part[0] + part[1]) + (part[2] + part[3]); }
};

template <int N>
ESP_INLINE V extreme_of(const V (&x)[N]) {
  V best = x[0];
  for (int i = 1; i < N; ++i) best = select(absolute(x[i]) > absolute(best), x[i], best);
  return best;
}

struct ScaleFit {
  V xq{}, qq{};
  D gain{};
  ESP_INLINE D quotient(D of) const {
    const D q = wide(qq);
    return select(q > D{}, of / q, D{});
  }
  ESP_INLINE V scale() const { return narrow(quotient(wide(xq))); }
};

template <int N, typename Levels>
ESP_APART ScaleFit scale_fit(const Group<N>& group, V id, const Levels& levels) {
  FourSums xq, qq;
  for (int i = 0; i < N; i += 4)
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) {
      const V q = levels(group.x[i + l] * id);
      xq.part[l] += group.wx[i + l] * q;
      qq.part[l] += group.w[i + l] * q * q;
    }
  ScaleFit out{xq.total(), qq.total(), {}};
  const D wide_xq = wide(out.xq);
  out.gain = out.quotient(wide_xq * wide_xq);
  return out;
}

// Replaces `best` in the lanes of `among` where `next` gains more. Returns these lanes.
ESP_INLINE M improve(ScaleFit& best, const ScaleFit& next, M among) {
  const M better = (next.gain > best.gain) & among;
  const I lanes = narrow(better);
  best.xq = select(lanes, next.xq, best.xq);
  best.qq = select(lanes, next.qq, best.qq);
  best.gain = select(better, next.gain, best.gain);
  return better;
}
ESP_INLINE M all_lanes() { return D{} == D{}; }

template <int N, typename Levels>
ESP_INLINE V alternate(const Group<N>& group, ScaleFit& best, const Levels& levels) {
  M running = all_lanes();
  for (int round = 0; round < kAlternations; ++round) {
    running = improve(best, scale_fit(group, inverse_of(best.scale()), levels), running);
    if (!any(narrow(running))) break;
  }
  return best.scale();
}

template <int N>
ESP_APART V fit_scale_lanes(const Group<N>& group, int lowest, int highest) {
  const V top = extreme_of(group.x);
  const EvenLevels levels(lowest, highest);
  ScaleFit best;
  for (const float end : {static_cast<float>(lowest), static_cast<float>(highest)})
    for (const float offset : kOffsets)
      improve(best, scale_fit(group, (end < 0 ? end - offset : end + offset) / top, levels),
              all_lanes());
  const V scale = alternate(group, best, levels);
  return select(inverse_of(top) == V{}, V{}, scale);
}

ESP_APART V fit_codebook_lanes(const Group<32>& group) {
  const V top = extreme_of(group.x);
  const CurveLevels levels;
  ScaleFit best;
  constexpr int kLow = kCodebook4[0], kHigh = kCodebook4[15];
  for (const std::int8_t v : kCodebook4)
    if (v < kLow / 3 || v > kHigh / 3)
      improve(best, scale_fit(group, static_cast<float>(v) / top, levels), all_lanes());
  for (const int end : {kLow, kHigh})
    for (int percent = 82; percent <= 146; percent += 4)
      improve(best, scale_fit(group, 0.01f * static_cast<float>(end * percent) / top, levels),
              all_lanes());
  const V scale = alternate(group, best, levels);
  return select(inverse_of(top) == V{}, V{}, scale);
}

// An offset and a scale with their error.
struct AffineFit {
  V scale, min;
  D error;
};

template <int N>
struct AffineSearch {
  const Group<N>& group;
  D sum_w, sum_wx, sum_wxx;
  V top;  // the highest level
  bool min_at_most_zero;

  ESP_INLINE AffineSearch(const Group<N>& of, int highest, bool at_most_zero)
      : group(of), top(splat(static_cast<float>(highest))), min_at_most_zero(at_most_zero) {
    FourSums w, wx, wxx;
    for (int i = 0; i < N; i += 4)
#pragma GCC unroll 4
      for (int l = 0; l < 4; ++l) {
        w.part[l] += of.w[i + l];
        wx.part[l] += of.wx[i + l];
        wxx.part[l] += of.wx[i + l] * of.x[i + l];
      }
    sum_w = wide(w.total());
    sum_wx = wide(wx.total());
    sum_wxx = wide(wxx.total());
  }

  ESP_APART AffineFit solve(V start, V id) const {
    FourSums sum_q1, sum_q2, sum_xq;
    for (int i = 0; i < N; i += 4)
#pragma GCC unroll 4
      for (int l = 0; l < 4; ++l) {
        V q = (group.x[i + l] - start) * id + 0.5f;
        q = truncated(smaller(larger(q, V{}), top));
        const V wq = group.w[i + l] * q;
        sum_q1.part[l] += wq;
        sum_q2.part[l] += wq * q;
        sum_xq.part[l] += group.wx[i + l] * q;
      }
    const D q1 = wide(sum_q1.total()), q2 = wide(sum_q2.total()), xq = wide(sum_xq.total());
    const D determinant = sum_w * q2 - q1 * q1;
    const M solvable = determinant > D{};
    D scale = select(solvable, (sum_w * xq - sum_wx * q1) / determinant, D{}),
      min = select(solvable, (q2 * sum_wx - q1 * xq) / determinant, D{});
    if (min_at_most_zero) {
      const M above = min > D{};
      min = select(above, D{}, min);
      scale = select(above, select(q2 > D{}, xq / q2, D{}), scale);
    }
    const M usable = scale > D{};
    const D two = splat_double(2), error = sum_wxx + scale * scale * q2 + min * min * sum_w -
                                           two * scale * xq - two * min * sum_wx +
                                           two * scale * min * q1;
    const I lanes = narrow(usable);
    return {select(lanes, narrow(scale), V{}), select(lanes, narrow(min), V{}),
            select(usable, error, splat_double(INFINITY))};
  }
  ESP_INLINE AffineFit again(const AffineFit& fit) const {
    return solve(fit.min, inverse_of(fit.scale));
  }
};

ESP_INLINE M improve(AffineFit& best, const AffineFit& next, M among) {
  const M better = (next.error < best.error) & among;
  const I lanes = narrow(better);
  best.scale = select(lanes, next.scale, best.scale);
  best.min = select(lanes, next.min, best.min);
  best.error = select(better, next.error, best.error);
  return better;
}

template <int N>
ESP_APART AffineFit fit_affine_lanes(const Group<N>& group, int highest, bool min_at_most_zero) {
  V low = group.x[0], high = group.x[0];
  for (int i = 0; i < N; ++i) {
    low = smaller(group.x[i], low);
    high = select(high < group.x[i], group.x[i], high);
  }
  if (min_at_most_zero) low = smaller(V{}, low);
  const V range = high - low;
  const I constant = (inverse_of(range) == V{}) | ~is_finite(range);
  const AffineSearch<N> search(group, highest, min_at_most_zero);
  AffineFit best{range / static_cast<float>(highest), low, splat_double(INFINITY)};
  for (const float offset : kOffsets) {
    AffineFit next = search.solve(low, (static_cast<float>(highest) + offset) / range);
    improve(next, search.again(next), next.error < splat_double(INFINITY));
    improve(best, next, all_lanes());
  }
  M running = all_lanes();
  for (int round = 0; round < kAlternations; ++round) {
    running = improve(best, search.again(best), running);
    if (!any(narrow(running))) break;
  }
  return {select(constant, V{}, best.scale), select(constant, low, best.min), best.error};
}

// scale_of() of blocks/mxfp4.cpp, for e up to 252.
ESP_INLINE V fp4_scale(I e) {
  const I subnormal = select(e > 0, splat_int(0x00400000), splat_int(0x00200000));
  return __builtin_bit_cast(V, select(e > 1, (e - 1) << 23, subnormal));
}
// fit_exponent() of blocks/mxfp4.cpp.
ESP_APART I fit_exponent_lanes(const Group<32>& group) {
  constexpr int kLargest = 252;
  const I top = __builtin_bit_cast(I, absolute(extreme_of(group.x))) >> 23;
  const I standard = select(top > 2, top - 2, I{});
  const Fp4Levels levels;
  I best{};
  V least = splat(INFINITY);
  for (const int offset : {0, 1, -1}) {
    I e = standard + offset;
    e = select(e > kLargest, splat_int(kLargest), select(e < 0, I{}, e));
    const V scale = fp4_scale(e), id = inverse_of(scale);
    FourSums error;
    for (int i = 0; i < 32; i += 4)
#pragma GCC unroll 4
      for (int l = 0; l < 4; ++l) {
        const V off = scale * levels(group.x[i + l] * id) - group.x[i + l];
        error.part[l] += group.w[i + l] * off * off;
      }
    const I better = error.total() < least;
    least = select(better, error.total(), least);
    best = select(better, e, best);
  }
  return select(least < splat(INFINITY), best,
                select(standard > kLargest, splat_int(kLargest), standard));
}

template <int N>
void fit_of(const Grid& grid, const float* x, const float* weight, float* step, float* offset) {
  for (int lane = 0; lane < kLanes; lane += kWidth) {
    const Group<N> group(x + lane, weight + lane);
    V s, o{};
    if (grid.affine) {
      const AffineFit fit = fit_affine_lanes(group, grid.high, grid.super);
      s = fit.scale;
      o = fit.min;
    } else {
      s = fit_scale_lanes(group, grid.low, grid.high);
    }
    store(step + lane, s);
    store(offset + lane, o);
  }
}
inline void fit_curve(const float* x, const float* weight, float* step, float* offset) {
  for (int lane = 0; lane < kLanes; lane += kWidth) {
    store(step + lane, fit_codebook_lanes(Group<32>(x + lane, weight + lane)));
    store(offset + lane, V{});
  }
}
inline void fit_fp4(const float* x, const float* weight, float* step, float* offset) {
  for (int lane = 0; lane < kLanes; lane += kWidth) {
    store(step + lane, fp4_scale(fit_exponent_lanes(Group<32>(x + lane, weight + lane))));
    store(offset + lane, V{});
  }
}
// fit_scale_exactly().
struct Points {
  V key[2 * kExactValues], x[2 * kExactValues], weight[2 * kExactValues];

  template <typename Network>
  ESP_INLINE void apply(const Network& network) {
    for (const Comparator c : network) {
      const int a = c.first, b = c.second;
      const I swap = key[a] < key[b];
      const V keys[2] = {key[a], key[b]}, xs[2] = {x[a], x[b]}, ws[2] = {weight[a], weight[b]};
      key[a] = select(swap, keys[1], keys[0]);
      key[b] = select(swap, keys[0], keys[1]);
      x[a] = select(swap, xs[1], xs[0]);
      x[b] = select(swap, xs[0], xs[1]);
      weight[a] = select(swap, ws[1], ws[0]);
      weight[b] = select(swap, ws[0], ws[1]);
    }
  }
};
struct ExactSums {
  D xq{}, qq{}, best_xq{}, best_qq{}, gain{};
  static ESP_INLINE D quotient(D of, D by) { return select(by > D{}, of / by, D{}); }
  ESP_INLINE void add(D w, D size, D steps) {
    xq = xq + w * size;
    qq = qq + w * steps;
    const D now = quotient(xq * xq, qq);
    const M better = now > gain;
    gain = select(better, now, gain);
    best_xq = select(better, xq, best_xq);
    best_qq = select(better, qq, best_qq);
  }
  ESP_INLINE D scale() const { return quotient(best_xq, best_qq); }
};
ESP_APART V fit_exactly_lanes(const float* x, const float* weight) {
  Points points;
  V top = load(x);
  for (int i = 0; i < kExactValues; ++i) {
    const V v = load(x + i * kLanes), size = absolute(v);
    top = select(size > absolute(top), v, top);
    const I some = size > V{};
    points.key[i] = select(some, size, V{});
    points.x[i] = select(some, v, V{});
    points.weight[i] = select(some, load(weight + i * kLanes), V{});
  }
  points.apply(kSortValues);
  for (int i = 0; i < kExactValues; ++i) {
    points.key[kExactValues + i] = points.key[i] * (1.0f / 3.0f);
    points.x[kExactValues + i] = points.x[i];
    points.weight[kExactValues + i] = points.weight[i];
  }
  points.apply(kMergeLevels);
  ExactSums above, below;
  for (int i = 0; i < 2 * kExactValues; ++i) {
    const V size = absolute(points.x[i]);
    const I some = points.key[i] > V{}, first = points.key[i] == size;
    const V w = select(some, points.weight[i], V{});
    const D steps = wide(select(first, splat(1), splat(3)));
    above.add(wide(select(first | (points.x[i] > V{}), w, V{})), wide(size), steps);
    below.add(wide(select(first | (points.x[i] < V{}), w, V{})), wide(size), steps);
  }
  const D scale = select(below.gain > above.gain, D{} - below.scale(), above.scale());
  return select(inverse_of(top) == V{}, V{}, narrow(scale));
}
inline void fit_exactly(const float* x, const float* weight, float* step, float* offset) {
  for (int lane = 0; lane < kLanes; lane += kWidth) {
    store(step + lane, fit_exactly_lanes(x + lane, weight + lane));
    store(offset + lane, V{});
  }
}

inline void fit(const Grid& grid, const float* x, const float* weight, float* step, float* offset) {
  if (grid.codebook == &kIq4) return fit_curve(x, weight, step, offset);
  if (grid.codebook == &kFp4) return fit_fp4(x, weight, step, offset);
  if (grid.sub == kExactValues) return fit_exactly(x, weight, step, offset);
  return (grid.sub == 32 ? fit_of<32> : fit_of<16>)(grid, x, weight, step, offset);
}
