// SPDX-License-Identifier: Apache-2.0
// The innermost tile of matmul by SMMLA: 2 rows x 8 columns times 2 tokens x 8 columns gives 2 x 2
// sums. matvec still multiplies with the Dot of the dot product, whose sums are plain 32-bit lanes
// too. Included inside an unnamed namespace after V and that Dot.

// Vectors of steps s and s + 1 (s even) become rows 0 and 1, and rows 2 and 3, of their 8 columns.
inline void arrange_levels(V::I* w) {
#pragma GCC unroll 4
  for (int s = 0; s < 8; s += 2) {
    const V::I low = vzip1q_s32(w[s], w[s + 1]), high = vzip2q_s32(w[s], w[s + 1]);
    w[s] = low;
    w[s + 1] = high;
  }
}

template <typename Shape>
inline V::I panel_levels(V::I levels) {
  static_assert(!Dot<Shape::kBits>::kOffset128);
  return levels;
}

// sum[g][t] = products of steps [first, first + kSteps) of the panel with kTokens tokens. `first`
// and kSteps are even. A token without a partner is its own.
template <int kBits, int kTokens, int kSteps, typename Chunk>
inline void dot_tile(const unsigned char (*levels)[64 * V::kBytes], const Chunk* x, int first,
                     typename Dot<kBits>::Sum (*sum)[kTokens]) {
  static_assert(kSteps % 2 == 0);
  constexpr int kPairs = (kTokens + 1) / 2;
  V::I block[kGroups][2]
            [kPairs];  // (row, token) of a pair of rows and a pair of tokens: 00 01 10 11
#pragma GCC unroll 4
  for (int s = 0; s < kSteps; s += 2) {
    int8x16_t w[kGroups][2];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      w[g][0] = V::bytes(V::iload(levels[g] + (first + s) * V::kBytes));
      w[g][1] = V::bytes(V::iload(levels[g] + (first + s + 1) * V::kBytes));
    }
#pragma GCC unroll 2
    for (int p = 0; p < kPairs; ++p) {
      const int partner = 2 * p + 1 < kTokens ? 2 * p + 1 : 2 * p;
      const int8x16_t value = vcombine_s8(vld1_s8(x[2 * p].q + 4 * (first + s)),
                                          vld1_s8(x[partner].q + 4 * (first + s)));
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g)
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h)
          block[g][h][p] = vmmlaq_s32(s == 0 ? V::izero() : block[g][h][p], w[g][h], value);
    }
  }
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g)
#pragma GCC unroll 2
    for (int p = 0; p < kPairs; ++p) {
      sum[g][2 * p] = vuzp1q_s32(block[g][0][p], block[g][1][p]);
      if (2 * p + 1 < kTokens) sum[g][2 * p + 1] = vuzp2q_s32(block[g][0][p], block[g][1][p]);
    }
}
