#include "format/blocks/fit.h"

#include <algorithm>
#include <cmath>

#include "format/blocks/codec.h"

namespace espalier::format {
namespace {

// Scales tried: those that put the extreme value at `levels + offset` for these offsets. Positive offsets clip the extreme to give
// the many small values finer steps; the more levels, the less that pays.
constexpr float kOffsets[] = {0.0f,  -0.75f, -0.5f, -0.25f, 0.25f, 0.5f, 0.75f, 1.0f,
                              1.25f, 1.5f,   1.75f, 2.0f,   2.5f,  3.0f, 3.5f,  4.0f};

struct ScaleSums {
  double xq = 0, qq = 0;
  double gain() const { return qq > 0 ? xq * xq / qq : 0; }  // by how much the best scale lowers sum w x^2
  double scale() const { return qq > 0 ? xq / qq : 0; }
};
ScaleSums scale_sums(const float* x, const float* weight, int n, float id, int lowest, int highest) {
  float xq = 0, qq = 0;
  for (int i = 0; i < n; ++i) {
    const float q = static_cast<float>(level(x[i] * id - static_cast<float>(lowest) + 0.5f, highest - lowest) + lowest);
    xq += weight[i] * x[i] * q;
    qq += weight[i] * q * q;
  }
  return {xq, qq};
}

struct Candidate {
  Affine fit;
  double error = INFINITY;
};

// Levels by (x - start) * id, then the best scale and min for them, and their error with those levels.
Candidate solve_affine(const float* x, const float* weight, int n, float start, float id, int highest, bool min_at_most_zero) {
  float w = 0, q1 = 0, q2 = 0, x1 = 0, x2 = 0, xq = 0;
  for (int i = 0; i < n; ++i) {
    const float q = static_cast<float>(level((x[i] - start) * id + 0.5f, highest));
    const float wq = weight[i] * q, wx = weight[i] * x[i];
    w += weight[i];
    q1 += wq;
    q2 += wq * q;
    x1 += wx;
    x2 += wx * x[i];
    xq += wx * q;
  }
  const double determinant = double(w) * q2 - double(q1) * q1;
  Candidate result;
  double scale = 0, min = 0;
  if (determinant > 0) {
    scale = (double(w) * xq - double(x1) * q1) / determinant;
    min = (double(q2) * x1 - double(q1) * xq) / determinant;
  }
  if (min_at_most_zero && min > 0) {
    min = 0;
    scale = q2 > 0 ? xq / double(q2) : 0;
  }
  if (!(scale > 0)) return result;
  result.fit = {static_cast<float>(scale), static_cast<float>(min)};
  result.error = x2 + scale * scale * q2 + min * min * w - 2 * scale * xq - 2 * min * x1 + 2 * scale * min * q1;
  return result;
}

}  // namespace

float fit_scale(const float* x, const float* weight, int n, int lowest, int highest) {
  const float top = extreme(x, n);
  if (inverse(top) == 0.0f) return 0.0f;
  ScaleSums best;
  for (const float sign : {-1.0f, 1.0f}) {  // the extreme at `lowest`, or at `highest`
    const float end = sign < 0 ? static_cast<float>(-lowest) : static_cast<float>(highest);
    for (const float offset : kOffsets) {
      const float id = sign * (end + offset) / top;
      const ScaleSums sums = scale_sums(x, weight, n, id, lowest, highest);
      if (sums.gain() > best.gain()) best = sums;
    }
  }
  for (int round = 0; round < 4; ++round) {  // alternate levels and scale until nothing improves
    const ScaleSums next = scale_sums(x, weight, n, inverse(static_cast<float>(best.scale())), lowest, highest);
    if (!(next.gain() > best.gain())) break;
    best = next;
  }
  return static_cast<float>(best.scale());
}

Affine fit_affine(const float* x, const float* weight, int n, int highest, bool min_at_most_zero) {
  float low = x[0], high = x[0];
  for (int i = 1; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (min_at_most_zero) low = std::min(low, 0.0f);
  const float range = high - low;
  if (inverse(range) == 0.0f || !std::isfinite(range)) return {0.0f, low};
  Candidate best{{range / static_cast<float>(highest), low}, INFINITY};
  for (const float offset : kOffsets) {
    const float id = (static_cast<float>(highest) + offset) / range;
    Candidate next = solve_affine(x, weight, n, low, id, highest, min_at_most_zero);
    for (int round = 0; round < 2 && next.error < INFINITY; ++round) {
      if (next.error < best.error) best = next;
      next = solve_affine(x, weight, n, next.fit.min, inverse(next.fit.scale), highest, min_at_most_zero);
    }
    if (next.error < best.error) best = next;
  }
  return best.fit;
}

const float* usable_weights(const float* importance, int n, float* uniform) {
  if (importance != nullptr && std::any_of(importance, importance + n, [](float w) { return w > 0.0f; })) return importance;
  std::fill(uniform, uniform + n, 1.0f);
  return uniform;
}

}  // namespace espalier::format
