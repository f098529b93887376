// SPDX-License-Identifier: Apache-2.0
// A tile of matmul by AMX: 16 tokens times two groups of 16 rows, with as many columns at once as
// share a scale. The vectors of a panel are AMX's second operand without change (4 columns of 16
// rows each). The activations of a token are a row of the first operand.
//
// The sums come back through memory and are scaled in the order of tile_registers-inl.h, so both
// give the same values. Included inside an unnamed namespace after V, amx-inl.h, blocks-inl.h,
// before panel-inl.h.
constexpr int kTokenTile = 16;
static_assert(V::kLanes == 16);

template <typename Shape>
struct Panel;

// The products are signed, so levels stay signed. The offset of levels is subtracted in the panel.
inline void arrange_levels(V::I*) {}
template <typename Shape>
inline V::I panel_levels(V::I levels) {
  if constexpr (Shape::kOffset == 0)
    return levels;
  else
    return V::sub8(levels, V::iset8(Shape::kOffset));
}

enum AmxTile : std::uint8_t {
  kSum0,
  kSum1,
  kTokens,
  kLevels0,
  kLevels1,
  kLastTokens,
  kLastSum0,
  kLastSum1
};  // the last of these belong to a tile that is not full

// The number of columns that share a scale, and so are multiplied at once.
template <typename Shape>
constexpr int kColumnsAtOnce = Shape::kScales == 16 ? 16 : 32;

// Holds the tile registers for this thread.
class TileState {
 public:
  template <typename Shape>
  static TileState of(std::int64_t tokens) {
    return TileState(kColumnsAtOnce<Shape>, static_cast<int>(tokens % kTokenTile));
  }
  TileState(const TileState&) = delete;
  TileState& operator=(const TileState&) = delete;
  ~TileState() { amx_release(); }

 private:
  TileState(int columns, int last) {
    AmxConfig config;
    config.set(kSum0, kTokenTile, V::kBytes);
    config.set(kSum1, kTokenTile, V::kBytes);
    config.set(kTokens, kTokenTile, columns);
    config.set(kLevels0, columns / 4, V::kBytes);
    config.set(kLevels1, columns / 4, V::kBytes);
    if (last > 0) {
      config.set(kLastSum0, last, V::kBytes);
      config.set(kLastSum1, last, V::kBytes);
      config.set(kLastTokens, last, columns);
    }
    amx_configure(config);
  }
};

struct AmxSums {
  alignas(64) std::int32_t of[kGroups][kTokenTile][V::kLanes];
};

template <int kA, int kC0, int kC1>
inline void multiply_tiles(const std::int8_t* q, std::int64_t stride, const unsigned char* levels0,
                           const unsigned char* levels1, AmxSums& out) {
  amx_load<kA>(q, stride);
  amx_zero<kC0>();
  amx_load<kLevels0>(levels0, V::kBytes);
  amx_dot<kC0, kA, kLevels0>();
  amx_zero<kC1>();
  amx_load<kLevels1>(levels1, V::kBytes);
  amx_dot<kC1, kA, kLevels1>();
  amx_store<kC0>(out.of[0], V::kBytes);
  amx_store<kC1>(out.of[1], V::kBytes);
}

// Multiplies part `i` of the panel's columns with n tokens.
template <typename S>
inline void multiply_part(const Panel<S>& panel, const typename S::Chunk* x, std::int64_t n, int i,
                          AmxSums& out) {
  const int column = i * kColumnsAtOnce<S>;
  const unsigned char *levels0 = panel.levels[0] + column / 4 * V::kBytes,
                      *levels1 = panel.levels[1] + column / 4 * V::kBytes;
  if (n == kTokenTile)
    multiply_tiles<kTokens, kSum0, kSum1>(x->q + column, sizeof *x, levels0, levels1, out);
  else
    multiply_tiles<kLastTokens, kLastSum0, kLastSum1>(x->q + column, sizeof *x, levels0, levels1,
                                                      out);
}

// Adds the products of one panel and n <= kTokenTile tokens to acc[t][g][16]. One part is
// multiplied while the previous part is scaled.
template <typename S>
void tile_of(const Panel<S>& panel, const typename S::Chunk* x, std::int64_t n,
             [[maybe_unused]] int blocks, float* acc) {
  AmxSums sums[2];
  if constexpr (S::kSuper) {
    V::I total[kTokenTile][kGroups];
    for (std::int64_t t = 0; t < n; ++t)
      for (int g = 0; g < kGroups; ++g) total[t][g] = V::izero();
    multiply_part(panel, x, n, 0, sums[0]);
    for (int i = 0; i < S::kScales; ++i) {
      if (i + 1 < S::kScales) multiply_part(panel, x, n, i + 1, sums[(i + 1) % 2]);
      const V::I scale[kGroups] = {panel.scale[0][i], panel.scale[1][i]};
      for (std::int64_t t = 0; t < n; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g)
          total[t][g] = V::add32(total[t][g], V::mul32(V::iload(sums[i % 2].of[g][t]), scale[g]));
    }
    for (std::int64_t t = 0; t < n; ++t)
      add_chunk(panel, x[t], total[t], acc + t * kGroups * V::kLanes);
  } else {
    multiply_part(panel, x, n, 0, sums[0]);
    for (int j = 0; j < blocks; ++j) {
      if (j + 1 < blocks) multiply_part(panel, x, n, j + 1, sums[(j + 1) % 2]);
      const V::F d[kGroups] = {panel.d[0][j], panel.d[1][j]};
      for (std::int64_t t = 0; t < n; ++t) {
        const V::F x_scale = V::set1(x[t].scale[j]);
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) {
          float* a = acc + (t * kGroups + g) * V::kLanes;
          V::F y = V::fma(d[g], V::mul(x_scale, V::to_float(V::iload(sums[j % 2].of[g][t]))),
                          V::load(a));
          if constexpr (S::kMinimum)
            y = V::fma(panel.m[g][j], V::set1(x[t].scale[j] * static_cast<float>(x[t].sum[j])), y);
          V::store(a, y);
        }
      }
    }
  }
}
