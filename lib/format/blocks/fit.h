// Search of scales that minimise the weighted squared error of a group of values. A scale decides the levels (each value takes the
// nearest one) and the levels decide the best scale (weighted least squares); the search starts from a grid of scales around the
// one that spans the range and keeps the best. Results are in float; the caller rounds them to what its format stores.
#pragma once

namespace espalier::format {

// d for x[i] ~ d * q[i], q in [lowest, highest], lowest < 0. d may be negative.
float fit_scale(const float* x, const float* weight, int n, int lowest, int highest);

// x[i] ~ scale * q[i] + min, q in [0, highest], scale >= 0. With min_at_most_zero, min <= 0.
struct Affine {
  float scale = 0.0f;
  float min = 0.0f;
};
Affine fit_affine(const float* x, const float* weight, int n, int highest, bool min_at_most_zero);

// The weights to use for n values: importance where it has any above 0, else 1 for all (written to `uniform`).
const float* usable_weights(const float* importance, int n, float* uniform);

}  // namespace espalier::format
