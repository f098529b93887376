// SPDX-License-Identifier: Apache-2.0
// 256 columns of two groups of rows, unpacked into the first-level cache: bytes that look alike for
// every format. Included inside an unnamed namespace after V, blocks-inl.h and panel_levels,
// arrange_levels of one of the tiles.
template <typename Shape>
struct Panel;

template <typename Shape>
  requires(Shape::kSuper)
struct Panel<Shape> {
  alignas(64) unsigned char levels[kGroups][64 * V::kBytes];
  V::I scale[kGroups][Shape::kScales], pair[kGroups][Shape::kPairs];
  V::F d[kGroups], d2[kGroups];

  template <typename Format>
  void unpack(const unsigned char* p, int g, int /*blocks*/) {
    Format::scales(p, scale[g], pair[g], &d[g], &d2[g]);
    for (int j = 0; j < 8; ++j) {
      V::I w[8];
      unpack_levels<typename Shape::Levels>(p + Format::kLevelsAt + j * V::kBytes * Shape::kStored,
                                            w);
      arrange_levels(w);
      for (int s = 0; s < 8; ++s)
        V::istore(levels[g] + (8 * j + s) * V::kBytes, panel_levels<Shape>(w[s]));
    }
  }
};

template <typename Shape>
  requires(!Shape::kSuper)
struct Panel<Shape> {
  alignas(64) unsigned char levels[kGroups][64 * V::kBytes];
  V::F d[kGroups][8], m[kGroups][8];

  template <typename Format>
  void unpack(const unsigned char* p, int g, int blocks) {
    for (int j = 0; j < blocks; p += Format::kBytes) {
      for (int part = 0; part < Format::kParts; ++part, ++j) {
        d[g][j] = Format::scale(p);
        if constexpr (Shape::kMinimum) m[g][j] = Format::minimum(p);
        V::I w[8];
        unpack_levels<typename Shape::Levels>(
            p + Format::kLevelsAt + part * V::kBytes * Shape::kStored, w);
        arrange_levels(w);
        for (int s = 0; s < 8; ++s)
          V::istore(levels[g] + (8 * j + s) * V::kBytes, panel_levels<Shape>(w[s]));
      }
    }
  }
};

// acc[g] += the contribution of 256 columns with integer scales for one token. total[g] holds its
// scaled products.
template <typename S>
inline void add_chunk(const Panel<S>& panel, const typename S::Chunk& x,
                      const V::I (&total)[kGroups], float* acc) {
  const std::int16_t* sums = S::sums(x);
  const V::F x_scale = V::set1(x.scale);
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g) {
    V::I offset = V::izero();
#pragma GCC unroll 8
    for (int i = 0; i < S::kPairs; ++i)
      offset = V::add32(offset, V::madd16(panel.pair[g][i], V::broadcast32(sums + 2 * i)));
    const V::F difference =
        V::sub(V::mul(panel.d[g], V::to_float(total[g])), V::mul(panel.d2[g], V::to_float(offset)));
    V::store(acc + g * V::kLanes, V::fma(x_scale, difference, V::load(acc + g * V::kLanes)));
  }
}
