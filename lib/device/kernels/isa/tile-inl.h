// SPDX-License-Identifier: Apache-2.0
// The innermost tile of matmul, one dot-product step at a time. Included inside an unnamed
// namespace after V and Dot.

// The 8 vectors of levels of 32 columns, in the order of a panel. Here the order stays.
inline void arrange_levels(V::I*) {}

// Levels in the form of a panel: already unsigned where Dot makes them so with one operation.
template <typename Shape>
inline V::I panel_levels(V::I levels) {
  if constexpr (Dot<Shape::kBits>::kOffset128) return Dot<Shape::kBits>::weights(levels);
  return levels;
}
template <int kBits>
inline typename Dot<kBits>::W panel_weights(V::I levels) {
  if constexpr (Dot<kBits>::kOffset128)
    return levels;
  else
    return Dot<kBits>::weights(levels);
}

// sum[g][t] = products of steps [first, first + kSteps) of the panel with kTokens tokens, in the
// narrow form of Dot.
template <int kBits, int kTokens, int kSteps, typename Chunk>
inline void dot_tile(const unsigned char (*levels)[64 * V::kBytes], const Chunk* x, int first,
                     typename Dot<kBits>::Sum (*sum)[kTokens]) {
  using D = Dot<kBits>;
#pragma GCC unroll 8
  for (int s = 0; s < kSteps; ++s) {
    typename D::W w[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g)
      w[g] = panel_weights<kBits>(V::iload(levels[g] + (first + s) * V::kBytes));
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const V::I value = V::broadcast32(x[t].q + 4 * (first + s));
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g)
        sum[g][t] = s == 0 ? D::first(w[g], value) : D::step(sum[g][t], w[g], value);
    }
  }
}
