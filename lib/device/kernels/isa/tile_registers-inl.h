// SPDX-License-Identifier: Apache-2.0
// A tile of matmul with all its sums in registers: two groups of rows and four tokens. Included
// inside an unnamed namespace after panel-inl.h and a dot_tile.
constexpr int kTokenTile = 4;

// The state of the processor during the tiles of a product. Here there is none.
struct TileState {
  template <typename Shape>
  static TileState of(std::int64_t /*tokens*/) {
    return {};
  }
};

// Adds the products of one panel and kTokens tokens to acc[t][g][R].
template <typename S, int kTokens>
void tile(const Panel<S>& panel, const typename S::Chunk* x, [[maybe_unused]] int blocks,
          float* acc) {
  using D = Dot<S::kBits>;
  if constexpr (S::kSuper) {
    constexpr int kGroupSteps = 64 / S::kScales;
    constexpr int kSteps = D::kDepth < kGroupSteps ? D::kDepth : kGroupSteps;
    V::I total[kTokens][kGroups];
    for (int t = 0; t < kTokens; ++t)
      for (int g = 0; g < kGroups; ++g) total[t][g] = V::izero();
    for (int s = 0; s < 64; s += kSteps) {
      typename D::Sum sum[kGroups][kTokens];
      dot_tile<S::kBits, kTokens, kSteps>(panel.levels, x, s, sum);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        const V::I scale = panel.scale[g][s / kGroupSteps];
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t)
          total[t][g] = V::add32(total[t][g], D::widen_scaled(sum[g][t], scale));
      }
    }
    for (int t = 0; t < kTokens; ++t)
      add_chunk(panel, x[t], total[t], acc + t * kGroups * V::kLanes);
  } else {
    constexpr int kParts = 8 / D::kDepth;  // widenings in 32 columns
    V::F y[kGroups][kTokens];
    for (int g = 0; g < kGroups; ++g)
      for (int t = 0; t < kTokens; ++t) y[g][t] = V::load(acc + (t * kGroups + g) * V::kLanes);
    for (int j = 0; j < blocks; ++j) {
      V::I total[kGroups][kTokens];
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        typename D::Sum sum[kGroups][kTokens];
        dot_tile<S::kBits, kTokens, D::kDepth>(panel.levels, x, 8 * j + part * D::kDepth, sum);
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g)
#pragma GCC unroll 4
          for (int t = 0; t < kTokens; ++t)
            total[g][t] =
                part == 0 ? D::widen(sum[g][t]) : V::add32(total[g][t], D::widen(sum[g][t]));
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const V::F x_scale = V::set1(x[t].scale[j]);
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) {
          y[g][t] = V::fma(
              panel.d[g][j],
              V::mul(x_scale, V::to_float(without_offset<S>(total[g][t], x[t].sum + j))), y[g][t]);
          if constexpr (S::kMinimum)
            y[g][t] = V::fma(panel.m[g][j],
                             V::set1(x[t].scale[j] * static_cast<float>(x[t].sum[j])), y[g][t]);
        }
      }
    }
    for (int g = 0; g < kGroups; ++g)
      for (int t = 0; t < kTokens; ++t) V::store(acc + (t * kGroups + g) * V::kLanes, y[g][t]);
  }
}

// The same for n <= kTokenTile tokens.
template <typename S>
void tile_of(const Panel<S>& panel, const typename S::Chunk* x, std::int64_t n, int blocks,
             float* acc) {
  if (n == kTokenTile) {
    tile<S, kTokenTile>(panel, x, blocks, acc);
    return;
  }
  for (std::int64_t t = 0; t < n; ++t)
    tile<S, 1>(panel, x + t, blocks, acc + t * kGroups * V::kLanes);
}
