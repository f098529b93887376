// SPDX-License-Identifier: Apache-2.0
// Scale search for groups of values: linear levels with and without a min, and the exact search for
// few levels.
#include "format/blocks/fit.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "format/blocks/codec.h"

namespace espalier::format {
namespace {

struct ScaleSums {
  double xq = 0, qq = 0;
  // How much the best scale lowers sum w x^2.
  double gain() const { return qq > 0 ? xq * xq / qq : 0; }
  double scale() const { return qq > 0 ? xq / qq : 0; }
};
template <int N>
ScaleSums scale_sums(const WeightedGroup<N>& group, float id, int lowest, int highest) {
  float q[N];
  const float shift = static_cast<float>(lowest), top = static_cast<float>(highest - lowest);
  for (int i = 0; i < N; ++i) {
    float v = group.x[i] * id - shift + 0.5f;
    v = v > 0.0f ? v : 0.0f;
    v = v < top ? v : top;
    q[i] = static_cast<float>(static_cast<int>(v)) + shift;
  }
  return {lane_sum<N>([&](int i) { return group.wx[i] * q[i]; }),
          lane_sum<N>([&](int i) { return group.w[i] * q[i] * q[i]; })};
}

struct Candidate {
  Affine fit;
  double error = INFINITY;
};

// Takes levels by (x - start) * id, then the best scale and min for these levels, and their error.
template <int N>
Candidate solve_affine(const WeightedGroup<N>& group, float start, float id, int highest,
                       bool min_at_most_zero) {
  float levels[N];
  nearest_levels<N>(group.x, start, id, highest, levels);
  const double q1 = lane_sum<N>([&](int i) { return group.w[i] * levels[i]; });
  const double q2 = lane_sum<N>([&](int i) { return group.w[i] * levels[i] * levels[i]; });
  const double xq = lane_sum<N>([&](int i) { return group.wx[i] * levels[i]; });
  const double w = group.sum_w, x1 = group.sum_wx, x2 = group.sum_wxx;
  const double determinant = w * q2 - q1 * q1;
  double scale = 0, min = 0;
  if (determinant > 0) {
    scale = (w * xq - x1 * q1) / determinant;
    min = (q2 * x1 - q1 * xq) / determinant;
  }
  if (min_at_most_zero && min > 0) {
    min = 0;
    scale = q2 > 0 ? xq / q2 : 0;
  }
  Candidate result;
  if (!(scale > 0)) return result;
  result.fit = {static_cast<float>(scale), static_cast<float>(min)};
  result.error = x2 + scale * scale * q2 + min * min * w - 2 * scale * xq - 2 * min * x1 +
                 2 * scale * min * q1;
  return result;
}

}  // namespace

template <int N>
float fit_scale(const WeightedGroup<N>& group, int lowest, int highest) {
  const float top = extreme(group.x, N);
  if (inverse(top) == 0.0f) return 0.0f;
  ScaleSums best;
  // The level that the extreme value gets.
  for (const float end : {static_cast<float>(lowest), static_cast<float>(highest)})
    for (const float offset : kOffsets) {
      const float id = (end < 0 ? end - offset : end + offset) / top;
      const ScaleSums sums = scale_sums(group, id, lowest, highest);
      if (sums.gain() > best.gain()) best = sums;
    }
  for (int round = 0; round < kAlternations; ++round) {
    const ScaleSums next =
        scale_sums(group, inverse(static_cast<float>(best.scale())), lowest, highest);
    if (!(next.gain() > best.gain())) break;
    best = next;
  }
  return static_cast<float>(best.scale());
}
template float fit_scale<16>(const WeightedGroup<16>&, int, int);
template float fit_scale<32>(const WeightedGroup<32>&, int, int);

namespace {

// Where a value reaches a level.
struct Point {
  float key, x, weight;
};
template <typename Network>
void apply(const Network& network, Point* points) {
  for (const Comparator c : network)
    if (points[c.first].key < points[c.second].key) std::swap(points[c.first], points[c.second]);
}

}  // namespace

float fit_scale_exactly(const float* x, const float* weight, int n) {
  ESP_ASSERT(n <= kExactValues);
  if (inverse(extreme(x, n)) == 0.0f) return 0.0f;
  Point points[2 * kExactValues] = {};
  for (int i = 0; i < n; ++i)
    if (const float size = std::fabs(x[i]); size > 0) points[i] = {size, x[i], weight[i]};
  apply(kSortValues, points);
  for (int i = 0; i < kExactValues; ++i) {
    points[kExactValues + i] = points[i];
    points[kExactValues + i].key = points[i].key * (1.0f / 3.0f);
  }
  apply(kMergeLevels, points);
  ScaleSums sums[2], best[2];  // for d above and below 0
  for (const Point& p : points) {
    if (!(p.key > 0)) continue;
    const bool second = p.key != std::fabs(p.x);
    const double w = p.weight;
    for (const int negative : {0, 1}) {
      if (second && (p.x < 0) != (negative == 1)) continue;
      ScaleSums& of = sums[negative];
      of.xq += w * static_cast<double>(std::fabs(p.x));
      of.qq += w * (second ? 3 : 1);
      if (of.gain() > best[negative].gain()) best[negative] = of;
    }
  }
  return static_cast<float>(best[1].gain() > best[0].gain() ? -best[1].scale() : best[0].scale());
}

template <int N>
Affine fit_affine(const WeightedGroup<N>& group, int highest, bool min_at_most_zero) {
  float low = group.x[0], high = group.x[0];
  for (const float v : group.x) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  if (min_at_most_zero) low = std::min(low, 0.0f);
  const float range = high - low;
  if (inverse(range) == 0.0f || !std::isfinite(range)) return {0.0f, low};
  Candidate best{{range / static_cast<float>(highest), low}, INFINITY};
  for (const float offset : kOffsets) {
    // One alternation for each start. That gives about 0.3 % less error than alternating from the
    // best start alone.
    Candidate next = solve_affine(group, low, (static_cast<float>(highest) + offset) / range,
                                  highest, min_at_most_zero);
    if (next.error < INFINITY) {
      const Candidate second =
          solve_affine(group, next.fit.min, inverse(next.fit.scale), highest, min_at_most_zero);
      if (second.error < next.error) next = second;
    }
    if (next.error < best.error) best = next;
  }
  for (int round = 0; round < kAlternations; ++round) {
    const Candidate next =
        solve_affine(group, best.fit.min, inverse(best.fit.scale), highest, min_at_most_zero);
    if (!(next.error < best.error)) break;
    best = next;
  }
  return best.fit;
}
template Affine fit_affine<16>(const WeightedGroup<16>&, int, bool);
template Affine fit_affine<32>(const WeightedGroup<32>&, int, bool);

const float* usable_weights(const float* importance, int n, float* uniform) {
  if (importance != nullptr &&
      std::any_of(importance, importance + n, [](float w) { return w > 0.0f; }))
    return importance;
  std::fill(uniform, uniform + n, 1.0f);
  return uniform;
}

}  // namespace espalier::format
