// SPDX-License-Identifier: Apache-2.0
// Sums over tokens and least squares, as pruning and rounding layer by layer use them. Amounts are
// floating-point operations.
#pragma once
#include "timing/work.h"

namespace espalier::timing {

// Normal equations of a matrix that reads n channels and should give m (layerwise/NormalEquations).
Item equations(std::int64_t n, std::int64_t m, const Text& text);
// Second moments of n channels, as an importance matrix keeps them.
Item gram(std::int64_t n, const Text& text);
// The matrix [m, n] that solves such equations.
Item solve(std::int64_t n, std::int64_t m);
// What multiplying two matrices [a, b] and [b, c] takes, once.
Item product(std::int64_t a, std::int64_t b, std::int64_t c);

}  // namespace espalier::timing
