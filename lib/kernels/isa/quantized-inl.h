// y = W x for row-interleaved quantized weights (kernels/layout.h) and int8 activations. Included inside an unnamed namespace after V,
// Dot, tails-inl.h, levels-inl.h and one of the tiles (dot_tile, arrange_levels). R = V::kLanes rows a group; all sums of a row stay in its lane.
//
// matvec unpacks levels in registers and streams the weights once. matmul unpacks 256 columns of two groups to a panel in the
// first-level cache, which then looks the same for every format, and multiplies it with a block of tokens, four at a time.

constexpr std::int64_t kTokenBlock = 128;  // tokens that share one unpacked panel
constexpr int kTokenTile = 4;

// What tells formats apart once they are unpacked. kScales: integer scales in 256 columns (0: float scales every 32 columns), kPairs:
// pairs of integers that multiply the sums of activations, kMinimum: whether a float minimum does, kOffset: what is taken off every level.
template <bool kSuper>
struct ChunkOf {
  using Type = ChunkPer32;
};
template <>
struct ChunkOf<true> {
  using Type = ChunkPer256;
};
template <int kBitsOf, int kScalesOf, int kPairsOf, bool kMinimumOf, int kOffsetOf = 0>
struct ShapeOf {
  static constexpr int kBits = kBitsOf, kStored = stored_bits(kBitsOf), kScales = kScalesOf, kPairs = kPairsOf, kOffset = kOffsetOf;
  static constexpr bool kSuper = kScales > 0, kMinimum = kMinimumOf;
  using Chunk = typename ChunkOf<kSuper>::Type;
  static const std::int16_t* sums(const Chunk& x)
    requires kSuper
  {
    return kPairs == 4 ? x.sum32 : x.sum16;
  }
};

// ---- Formats of blocks of 32 columns (Q2_0: kParts = 2 of them): w = d * (q - offset) + m; Q2_0, Q4_0, Q5_0 (and Q8_0, IQ4_NL with
// unsigned levels) have an offset.
template <int kBitsOf, bool kStoredMinimum, int kOffsetOf, int kPartsOf = 1>
struct Block {
  static_assert((kOffsetOf & (kOffsetOf - 1)) == 0, "taken off by a shift");
  using Shape = ShapeOf<kBitsOf, 0, 0, kStoredMinimum, kOffsetOf>;
  static constexpr std::int64_t kLevelsAt = V::kLanes * (kStoredMinimum ? 4 : 2);
  static constexpr int kParts = kPartsOf, kColumns = 32 * kParts;
  static constexpr std::int64_t kBytes = kLevelsAt + kParts * V::kBytes * stored_bits(kBitsOf);

  static V::F scale(const unsigned char* p) { return V::load_f16(p); }
  static V::F minimum(const unsigned char* p)
    requires kStoredMinimum
  {
    return V::load_f16(p + 2 * V::kLanes);
  }
};
using Q2_0 = Block<2, false, 1, 2>;
using Q4_0 = Block<4, false, 8>;
using Q4_1 = Block<4, true, 0>;
using Q5_0 = Block<5, false, 16>;
using Q5_1 = Block<5, true, 0>;
using Q8_0 = Block<8, false, Dot<8>::kOffset128 ? 128 : 0>;
using IQ4_NL = Block<kCodebookLevels, false, Dot<8>::kOffset128 ? 128 : 0>;

// ---- Q4_K, Q5_K: w = d * scale * q - dmin * min, scales and mins for every 32 columns.
template <int kBitsOf>
struct SuperAffine {
  using Shape = ShapeOf<kBitsOf, 8, 4, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 16;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * kBitsOf;

  // What is subtracted: d2 * sum over pairs (pair . sums). d2 = dmin.
  static void scales(const unsigned char* p, V::I* scale, V::I* pair, V::F* d, V::F* d2) {
    *d = V::load_f16(p);
    *d2 = V::load_f16(p + 2 * V::kLanes);
    V::I all[8];
    unpack_pairs(p + 4 * V::kLanes, all);
    for (int i = 0; i < 4; ++i) {
      scale[2 * i] = scale_low(all[i]);
      scale[2 * i + 1] = scale_high(all[i]);
      pair[i] = all[4 + i];
    }
  }
};
using Q4_K = SuperAffine<4>;
using Q5_K = SuperAffine<5>;

// Four bytes a lane to the operands of widen_scaled, and to two pairs of 16-bit numbers. All signed.
inline void scales_of_bytes(V::I word, V::I* scale) {
  scale[0] = scale_byte<0>(word);
  scale[1] = scale_byte<1>(word);
  scale[2] = scale_byte<2>(word);
  scale[3] = scale_byte<3>(word);
}
inline void pairs_of_bytes(V::I word, V::I* pair) {
  pair[0] = V::right16_signed<8>(V::shuffle_bytes(word, 0x01000000));  // bytes 0 and 1
  pair[1] = V::right16_signed<8>(V::shuffle_bytes(word, 0x03000200));  // bytes 2 and 3
}

// ---- Q2_K: w = d * scale * q - dmin * min, scales and mins for every 16 columns.
struct Q2_K {
  using Shape = ShapeOf<2, 16, 8, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 20;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * Shape::kBits;

  static void scales(const unsigned char* p, V::I* scale, V::I* pair, V::F* d, V::F* d2) {
    *d = V::load_f16(p);
    *d2 = V::load_f16(p + 2 * V::kLanes);
    const V::I low = V::iset8(0x0F);
    for (int k = 0; k < 4; ++k) {
      const V::I word = V::iload(p + 4 * V::kLanes + k * V::kBytes);
      scales_of_bytes(V::iand(word, low), scale + 4 * k);
      pairs_of_bytes(V::iand(V::right16<4>(word), low), pair + 2 * k);
    }
  }
};

// ---- Q3_K: w = d * (scale - 32) * (q - 4), scales for every 16 columns.
struct Q3_K {
  using Shape = ShapeOf<3, 16, 8, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 14;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * Shape::kBits;

  // What is subtracted: d2 * sum over pairs (pair . sums), the pairs being the scales. d2 = 4 * d.
  static void scales(const unsigned char* p, V::I* scale, V::I* pair, V::F* d, V::F* d2) {
    *d = V::load_f16(p);
    *d2 = V::mul(*d, V::set1(4.0f));
    const unsigned char* words = p + 2 * V::kLanes;
    const V::I w0 = V::iload(words), w1 = V::iload(words + V::kBytes), w2 = V::iload(words + 2 * V::kBytes);
    const V::I low = V::iset8(0x0F), high = V::iset8(0x30), bias = V::iset8(32);
    const V::I word[4] = {V::ior(V::iand(w0, low), V::iand(V::left16<4>(w2), high)),
                          V::ior(V::iand(w1, low), V::iand(V::left16<2>(w2), high)),
                          V::ior(V::iand(V::right16<4>(w0), low), V::iand(w2, high)),
                          V::ior(V::iand(V::right16<4>(w1), low), V::iand(V::right16<2>(w2), high))};
    for (int k = 0; k < 4; ++k) {
      const V::I bytes = V::sub8(word[k], bias);
      scales_of_bytes(bytes, scale + 4 * k);
      pairs_of_bytes(bytes, pair + 2 * k);
    }
  }
};

// ---- IQ4_XS: w = d * (scale - 32) * level, scales for every 32 columns, signed levels.
struct IQ4_XS {
  using Shape = ShapeOf<kCodebookLevels, 8, 4, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 8;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * Shape::kStored;

  template <int kGroup>
  static V::I scale_of(V::I low, V::I high) {  // one 32-bit number a lane
    if constexpr (kGroup > 0) low = V::right32<4 * kGroup>(low);
    if constexpr (kGroup < 2) high = V::left32<4 - 2 * kGroup>(high);
    if constexpr (kGroup > 2) high = V::right32<2 * kGroup - 4>(high);
    return V::add32(V::ior(V::iand(low, V::iset32(15)), V::iand(high, V::iset32(48))), V::iset32(-32));
  }
  // What is subtracted where levels are made unsigned: 128 * d * sum over pairs of scales (pair . sums).
  static void scales(const unsigned char* p, V::I* scale, V::I* pair, V::F* d, V::F* d2) {
    *d = V::load_f16(p);
    *d2 = V::mul(*d, V::set1(Dot<8>::kOffset128 ? 128.0f : 0.0f));
    const V::I high = V::load_u16(p + 2 * V::kLanes), low = V::iload(p + 4 * V::kLanes);
    scale[0] = scale_of<0>(low, high);
    scale[1] = scale_of<1>(low, high);
    scale[2] = scale_of<2>(low, high);
    scale[3] = scale_of<3>(low, high);
    scale[4] = scale_of<4>(low, high);
    scale[5] = scale_of<5>(low, high);
    scale[6] = scale_of<6>(low, high);
    scale[7] = scale_of<7>(low, high);
    for (int i = 0; i < 4; ++i) pair[i] = V::ior(V::iand(scale[2 * i], V::iset32(0xFFFF)), V::left32<16>(scale[2 * i + 1]));
  }
};

// ---- Q6_K: w = d * scale * (q - 32), signed scales for every 16 columns.
struct Q6_K {
  using Shape = ShapeOf<6, 16, 8, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 18;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * Shape::kBits;

  // What is subtracted: d2 * sum over pairs (pair . sums), the pairs being the scales. d2 = 32 * d.
  static void scales(const unsigned char* p, V::I* scale, V::I* pair, V::F* d, V::F* d2) {
    *d = V::load_f16(p);
    *d2 = V::mul(*d, V::set1(32.0f));
    for (int k = 0; k < 4; ++k) {
      const V::I word = V::iload(p + 2 * V::kLanes + k * V::kBytes);
      scales_of_bytes(word, scale + 4 * k);
      pairs_of_bytes(word, pair + 2 * k);
    }
  }
};

// ---- matvec
// The products of 32 columns, one int32 a row: levels at p, activations x. `scale`: one or two operands of widen_scaled, or null.
template <int kBits, int kScales>
inline V::I dot32(const unsigned char* p, const std::int8_t* x, const V::I* scale) {
  using D = Dot<kBits>;
  constexpr int kGroup = kScales == 2 ? 4 : 8;  // steps that share a scale
  constexpr int kDepth = D::kDepth < kGroup ? D::kDepth : kGroup;
  V::I w[8];
  unpack_levels<kBits>(p, w);
  V::I total = V::izero();
#pragma GCC unroll 8
  for (int s = 0; s < 8; s += kDepth) {
    typename D::Sum sum = D::first(D::weights(w[s]), V::broadcast32(x + 4 * s));
#pragma GCC unroll 8
    for (int i = 1; i < kDepth; ++i) sum = D::step(sum, D::weights(w[s + i]), V::broadcast32(x + 4 * (s + i)));
    V::I wide;
    if constexpr (kScales == 0)
      wide = D::widen(sum);
    else
      wide = D::widen_scaled(sum, scale[s / kGroup]);
    total = s == 0 ? wide : V::add32(total, wide);
  }
  return total;
}

// product - kOffset * (sum of the activations), in integers: levels that are all their offset give 0 exactly.
template <typename Shape>
inline V::I without_offset(V::I product, const std::int32_t* sum) {
  if constexpr (Shape::kOffset == 0) return product;
  else return V::sub32(product, V::left32<__builtin_ctz(Shape::kOffset)>(V::broadcast32(sum)));
}

// Asks for `kBytes` that matvec will read V::kPrefetchAhead bytes later; past the end of a matrix nothing happens.
template <std::int64_t kBytes>
inline void prefetch_ahead(const unsigned char* p) {
  if constexpr (V::kPrefetchAhead > 0) {
#pragma GCC unroll 64
    for (std::int64_t b = 0; b < kBytes; b += 64) __builtin_prefetch(p + V::kPrefetchAhead + b, 0, 3);
  }
}

template <typename Format>
inline V::F matvec_group(const unsigned char* p, const typename Format::Shape::Chunk* x, std::int64_t cols) {
  using S = typename Format::Shape;
  V::F y = V::zero();
  if constexpr (S::kSuper) {
    for (std::int64_t c = 0; c < cols; c += kChunk, p += Format::kBytes, ++x) {
      prefetch_ahead<Format::kBytes>(p);
      V::I scale[S::kScales], pair[S::kPairs];
      V::F d, d2;
      Format::scales(p, scale, pair, &d, &d2);
      const std::int16_t* sums = S::sums(*x);
      V::I sum = V::izero(), offset = V::izero();
#pragma GCC unroll 8
      for (int i = 0; i < S::kPairs; ++i) offset = V::add32(offset, V::madd16(pair[i], V::broadcast32(sums + 2 * i)));
      constexpr int kScalesPer32 = S::kScales / 8;
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j)
        sum = V::add32(sum, dot32<S::kBits, kScalesPer32>(p + Format::kLevelsAt + j * V::kBytes * S::kStored, x->q + 32 * j,
                                                               scale + j * kScalesPer32));
      const V::F x_scale = V::set1(x->scale);
      const V::F difference = V::sub(V::mul(d, V::to_float(sum)), V::mul(d2, V::to_float(offset)));
      y = V::fma(x_scale, difference, y);
    }
  } else {
    for (std::int64_t c = 0; c < cols; c += kChunk, ++x) {
      const int n = static_cast<int>(smaller(cols - c, kChunk) / 32);
      for (int j = 0; j < n; p += Format::kBytes) {
        prefetch_ahead<Format::kBytes>(p);
        const V::F d = Format::scale(p);
#pragma GCC unroll 2
        for (int part = 0; part < Format::kParts; ++part, ++j) {
          const V::I product = dot32<S::kBits, 0>(p + Format::kLevelsAt + part * V::kBytes * S::kStored, x->q + 32 * j, nullptr);
          y = V::fma(d, V::mul(V::set1(x->scale[j]), V::to_float(without_offset<S>(product, x->sum + j))), y);
          if constexpr (S::kMinimum) y = V::fma(Format::minimum(p), V::set1(x->scale[j] * static_cast<float>(x->sum[j])), y);
        }
      }
    }
  }
  return y;
}

template <typename Format>
void matvec(const WeightView& w, const ActivationView& x, std::int64_t row_begin, std::int64_t row_end, float* y) {
  const auto* chunks = static_cast<const typename Format::Shape::Chunk*>(x.chunks);
  for (std::int64_t row = row_begin; row < row_end; row += V::kLanes) {
    const V::F values = matvec_group<Format>(w.data + row / V::kLanes * w.group_bytes, chunks, w.cols);
    store_some(y + row, values, row_end - row);  // the last group may have lanes that are no rows
  }
}

// ---- matmul
// 256 columns of kGroups groups, unpacked.
template <typename Shape, int kGroups>
struct Panel;

template <typename Shape, int kGroups>
  requires(Shape::kSuper)
struct Panel<Shape, kGroups> {
  alignas(64) unsigned char levels[kGroups][64 * V::kBytes];
  V::I scale[kGroups][Shape::kScales], pair[kGroups][Shape::kPairs];
  V::F d[kGroups], d2[kGroups];

  template <typename Format>
  void unpack(const unsigned char* p, int g, int /*blocks*/) {
    Format::scales(p, scale[g], pair[g], &d[g], &d2[g]);
    for (int j = 0; j < 8; ++j) {
      V::I w[8];
      unpack_levels<Shape::kBits>(p + Format::kLevelsAt + j * V::kBytes * Shape::kStored, w);
      arrange_levels(w);
      for (int s = 0; s < 8; ++s) V::istore(levels[g] + (8 * j + s) * V::kBytes, panel_levels<Shape::kBits>(w[s]));
    }
  }
};

template <typename Shape, int kGroups>
  requires(!Shape::kSuper)
struct Panel<Shape, kGroups> {
  alignas(64) unsigned char levels[kGroups][64 * V::kBytes];
  V::F d[kGroups][8], m[kGroups][8];

  template <typename Format>
  void unpack(const unsigned char* p, int g, int blocks) {
    for (int j = 0; j < blocks; p += Format::kBytes) {
      for (int part = 0; part < Format::kParts; ++part, ++j) {
        d[g][j] = Format::scale(p);
        if constexpr (Shape::kMinimum) m[g][j] = Format::minimum(p);
        V::I w[8];
        unpack_levels<Shape::kBits>(p + Format::kLevelsAt + part * V::kBytes * Shape::kStored, w);
        arrange_levels(w);
        for (int s = 0; s < 8; ++s) V::istore(levels[g] + (8 * j + s) * V::kBytes, panel_levels<Shape::kBits>(w[s]));
      }
    }
  }
};

// Adds the products of one panel and kTokens tokens to acc[t][g][R].
template <typename S, int kGroups, int kTokens>
void tile(const Panel<S, kGroups>& panel, const typename S::Chunk* x, [[maybe_unused]] int blocks, float* acc) {
  using D = Dot<S::kBits>;
  if constexpr (S::kSuper) {
    constexpr int kGroupSteps = 64 / S::kScales;
    constexpr int kSteps = D::kDepth < kGroupSteps ? D::kDepth : kGroupSteps;
    V::I total[kGroups][kTokens];
    for (int g = 0; g < kGroups; ++g)
      for (int t = 0; t < kTokens; ++t) total[g][t] = V::izero();
    for (int s = 0; s < 64; s += kSteps) {
      typename D::Sum sum[kGroups][kTokens];
      dot_tile<S::kBits, kGroups, kTokens, kSteps>(panel.levels, x, s, sum);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        const V::I scale = panel.scale[g][s / kGroupSteps];
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) total[g][t] = V::add32(total[g][t], D::widen_scaled(sum[g][t], scale));
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      const std::int16_t* sums = S::sums(x[t]);
      const V::F x_scale = V::set1(x[t].scale);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        V::I offset = V::izero();
#pragma GCC unroll 8
        for (int i = 0; i < S::kPairs; ++i) offset = V::add32(offset, V::madd16(panel.pair[g][i], V::broadcast32(sums + 2 * i)));
        const V::F difference = V::sub(V::mul(panel.d[g], V::to_float(total[g][t])), V::mul(panel.d2[g], V::to_float(offset)));
        float* a = acc + (t * kGroups + g) * V::kLanes;
        V::store(a, V::fma(x_scale, difference, V::load(a)));
      }
    }
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
        dot_tile<S::kBits, kGroups, kTokens, D::kDepth>(panel.levels, x, 8 * j + part * D::kDepth, sum);
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g)
#pragma GCC unroll 4
          for (int t = 0; t < kTokens; ++t) total[g][t] = part == 0 ? D::widen(sum[g][t]) : V::add32(total[g][t], D::widen(sum[g][t]));
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const V::F x_scale = V::set1(x[t].scale[j]);
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) {
          y[g][t] = V::fma(panel.d[g][j], V::mul(x_scale, V::to_float(without_offset<S>(total[g][t], x[t].sum + j))), y[g][t]);
          if constexpr (S::kMinimum) y[g][t] = V::fma(panel.m[g][j], V::set1(x[t].scale[j] * static_cast<float>(x[t].sum[j])), y[g][t]);
        }
      }
    }
    for (int g = 0; g < kGroups; ++g)
      for (int t = 0; t < kTokens; ++t) V::store(acc + (t * kGroups + g) * V::kLanes, y[g][t]);
  }
}

template <typename Format, int kGroups>
void matmul_groups(const WeightView& w, const ActivationView& x, std::int64_t row, std::int64_t rows, std::int64_t token_begin,
                   std::int64_t token_end, float* y, std::int64_t ldy) {
  const std::int64_t n = token_end - token_begin;
  constexpr std::int64_t kWidth = kGroups * V::kLanes;
  alignas(64) float acc[kTokenBlock * kWidth];
  for (std::int64_t i = 0; i < n * kWidth; i += V::kLanes) V::store(acc + i, V::zero());
  using S = typename Format::Shape;
  Panel<S, kGroups> panel;
  const unsigned char* group = w.data + row / V::kLanes * w.group_bytes;
  for (std::int64_t c = 0; c < w.cols; c += kChunk) {
    const int blocks = static_cast<int>(smaller(w.cols - c, kChunk) / 32);
    for (int g = 0; g < kGroups; ++g) panel.template unpack<Format>(group + g * w.group_bytes + c / Format::kColumns * Format::kBytes, g, blocks);
    const auto* chunk = static_cast<const typename S::Chunk*>(x.chunks) + c / kChunk * x.n + token_begin;
    // The next panel's weights come from memory while this one is multiplied: each tile asks for its share of them.
    const std::int64_t following = c + kChunk < w.cols ? (c + kChunk) / Format::kColumns * Format::kBytes : kGroups * w.group_bytes;
    const std::int64_t lines = (kChunk / Format::kColumns * Format::kBytes * kTokenTile / n + 63) / 64;
    std::int64_t t = 0;
    for (; t + kTokenTile <= n; t += kTokenTile) {
      for (int g = 0; g < kGroups; ++g) {
        const unsigned char* next = group + g * w.group_bytes + following + t / kTokenTile * lines * 64;
        for (std::int64_t i = 0; i < lines; ++i) __builtin_prefetch(next + 64 * i, 0, 2);
      }
      tile<S, kGroups, kTokenTile>(panel, chunk + t, blocks, acc + t * kWidth);
    }
    for (; t < n; ++t) tile<S, kGroups, 1>(panel, chunk + t, blocks, acc + t * kWidth);
  }
  for (std::int64_t t = 0; t < n; ++t)
    for (int g = 0; g < kGroups; ++g)
      store_some(y + (token_begin + t) * ldy + row + g * V::kLanes, V::load(acc + t * kWidth + g * V::kLanes), rows - g * V::kLanes);
}

template <typename Format>
void matmul(const WeightView& w, const ActivationView& x, std::int64_t row_begin, std::int64_t row_end, float* y, std::int64_t ldy) {
  for (std::int64_t t = 0; t < x.n; t += kTokenBlock) {
    const std::int64_t token_end = smaller(t + kTokenBlock, x.n);
    std::int64_t row = row_begin;
    for (; row + V::kLanes < row_end; row += 2 * V::kLanes) matmul_groups<Format, 2>(w, x, row, row_end - row, t, token_end, y, ldy);
    if (row < row_end) matmul_groups<Format, 1>(w, x, row, row_end - row, t, token_end, y, ldy);
  }
}

template <typename Format>
void fill_quantized(LinearKernel& kernel) {
  kernel.interleave = V::kLanes;
  kernel.form = Format::Shape::kSuper ? ActivationForm::q8_per_256 : ActivationForm::q8_per_32;
  kernel.matvec = matvec<Format>;
  kernel.matmul = matmul<Format>;
}
