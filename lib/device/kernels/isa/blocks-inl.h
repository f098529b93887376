// SPDX-License-Identifier: Apache-2.0
// The quantized formats as kernels/layout.h packs them: where scales and levels of a group of R =
// V::kLanes rows lie. Included inside an unnamed namespace after V, Dot, levels-inl.h.

// Groups of rows that matmul works on at once.
constexpr int kGroups = 2;

// The differences between formats after unpacking.
//   kScales:  integer scales in 256 columns (0: float scales every 32 columns)
//   kPairs:   pairs of integers that multiply the sums of activations
//   kMinimum: whether a float minimum multiplies them
//   kOffset:  subtracted from every level
template <bool kSuper>
struct ChunkOf {
  using Type = ChunkPer32;
};
template <>
struct ChunkOf<true> {
  using Type = ChunkPer256;
};
template <typename LevelsOf, int kScalesOf, int kPairsOf, bool kMinimumOf, int kOffsetOf = 0>
struct ShapeOf {
  using Levels = LevelsOf;
  static constexpr int kBits = Levels::kBits, kStored = Levels::kStored, kScales = kScalesOf,
                       kPairs = kPairsOf, kOffset = kOffsetOf;
  static constexpr bool kSuper = kScales > 0, kMinimum = kMinimumOf;
  using Chunk = typename ChunkOf<kSuper>::Type;
  static const std::int16_t* sums(const Chunk& x)
    requires kSuper
  {
    return kPairs == 4 ? x.sum32 : x.sum16;
  }
};

// ---- Formats of blocks of 32 columns (Q2_0: kParts = 2 of them): w = d * (q - offset) + m. Q2_0,
// Q4_0, Q5_0 have an offset (and Q8_0, IQ4_NL with unsigned levels).
template <typename Levels, bool kStoredMinimum, int kOffsetOf, int kPartsOf = 1>
struct Block {
  static_assert((kOffsetOf & (kOffsetOf - 1)) == 0, "taken off by a shift");
  using Shape = ShapeOf<Levels, 0, 0, kStoredMinimum, kOffsetOf>;
  static constexpr std::int64_t kLevelsAt = V::kLanes * (kStoredMinimum ? 4 : 2);
  static constexpr int kParts = kPartsOf, kColumns = 32 * kParts;
  static constexpr std::int64_t kBytes = kLevelsAt + kParts * V::kBytes * Shape::kStored;

  static V::F scale(const unsigned char* p) { return V::load_f16(p); }
  static V::F minimum(const unsigned char* p)
    requires kStoredMinimum
  {
    return V::load_f16(p + 2 * V::kLanes);
  }
};
using Q2_0 = Block<PlainLevels<2>, false, 1, 2>;
using Q4_0 = Block<PlainLevels<4>, false, 8>;
using Q4_1 = Block<PlainLevels<4>, true, 0>;
using Q5_0 = Block<PlainLevels<5>, false, 16>;
using Q5_1 = Block<PlainLevels<5>, true, 0>;
using Q8_0 = Block<PlainLevels<8>, false, Dot<8>::kOffset128 ? 128 : 0>;
using Codebook = TableLevels<format::kCodebook4, 8>;
using IQ4_NL = Block<Codebook, false, Dot<8>::kOffset128 ? 128 : 0>;

// ---- MXFP4: w = 2^(e - 128) * level, e for every 32 columns. The table adds 16 to the levels of
// format/blocks/mxfp4.cpp, so that they are unsigned numbers of 5 bits.
constexpr std::int8_t kFp4Levels16[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                          16, 15, 14, 13, 12, 10, 8,  4};
struct MXFP4 {
  using Shape = ShapeOf<TableLevels<kFp4Levels16, 5>, 0, 0, false, 16>;
  static constexpr std::int64_t kLevelsAt = V::kLanes;
  static constexpr int kParts = 1, kColumns = 32;
  static constexpr std::int64_t kBytes = kLevelsAt + V::kBytes * Shape::kStored;

  // In two factors, because the exponent of one would be below the range of scale2.
  static V::F scale(const unsigned char* p) {
    const V::I e = V::iand(V::load_int8(p), V::iset32(255)), half = V::right32<1>(e);
    const V::I bias = V::iset32(64);
    return V::scale2(V::scale2(V::set1(1.0f), V::sub32(half, bias)),
                     V::sub32(V::sub32(e, half), bias));
  }
};

// ---- Q4_K, Q5_K: w = d * scale * q - dmin * min, scales and mins for every 32 columns.
template <int kBitsOf>
struct SuperAffine {
  using Shape = ShapeOf<PlainLevels<kBitsOf>, 8, 4, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 16;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * kBitsOf;

  // Subtracts d2 * sum over pairs (pair . sums). d2 = dmin.
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

// Converts four bytes per lane to the operands of widen_scaled, and to two pairs of 16-bit numbers.
// All are signed.
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
  using Shape = ShapeOf<PlainLevels<2>, 16, 8, false>;
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
  using Shape = ShapeOf<PlainLevels<3>, 16, 8, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 14;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * Shape::kBits;

  // Subtracts d2 * sum over pairs (pair . sums). The pairs are the scales. d2 = 4 * d.
  static void scales(const unsigned char* p, V::I* scale, V::I* pair, V::F* d, V::F* d2) {
    *d = V::load_f16(p);
    *d2 = V::mul(*d, V::set1(4.0f));
    const unsigned char* words = p + 2 * V::kLanes;
    const V::I w0 = V::iload(words), w1 = V::iload(words + V::kBytes),
               w2 = V::iload(words + 2 * V::kBytes);
    const V::I low = V::iset8(0x0F), high = V::iset8(0x30), bias = V::iset8(32);
    const V::I word[4] = {
        V::ior(V::iand(w0, low), V::iand(V::left16<4>(w2), high)),
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
  using Shape = ShapeOf<Codebook, 8, 4, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 8;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * Shape::kStored;

  template <int kGroup>
  static V::I scale_of(V::I low, V::I high) {  // one 32-bit number per lane
    if constexpr (kGroup > 0) low = V::right32<4 * kGroup>(low);
    if constexpr (kGroup < 2) high = V::left32<4 - 2 * kGroup>(high);
    if constexpr (kGroup > 2) high = V::right32<2 * kGroup - 4>(high);
    return V::add32(V::ior(V::iand(low, V::iset32(15)), V::iand(high, V::iset32(48))),
                    V::iset32(-32));
  }
  // Where levels are made unsigned: subtracts 128 * d * sum over pairs of scales (pair . sums).
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
    for (int i = 0; i < 4; ++i)
      pair[i] = V::ior(V::iand(scale[2 * i], V::iset32(0xFFFF)), V::left32<16>(scale[2 * i + 1]));
  }
};

// ---- Q6_K: w = d * scale * (q - 32), signed scales for every 16 columns.
struct Q6_K {
  using Shape = ShapeOf<PlainLevels<6>, 16, 8, false>;
  static constexpr int kColumns = 256;
  static constexpr std::int64_t kLevelsAt = V::kLanes * 18;
  static constexpr std::int64_t kBytes = kLevelsAt + 8 * V::kBytes * Shape::kBits;

  // Subtracts d2 * sum over pairs (pair . sums). The pairs are the scales. d2 = 32 * d.
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

// product - kOffset * (sum of the activations), in integers. Levels that all equal their offset
// give exactly 0.
template <typename Shape>
inline V::I without_offset(V::I product, const std::int32_t* sum) {
  if constexpr (Shape::kOffset == 0)
    return product;
  else
    return V::sub32(product, V::left32<__builtin_ctz(Shape::kOffset)>(V::broadcast32(sum)));
}

// Calls f.template operator()<Format>(kernel) for each quantized format.
template <typename F>
void each_quantized(KernelTable& table, F f) {
  f.template operator()<Q8_0>(table.linear[k_q8_0]);
  f.template operator()<Q2_0>(table.linear[k_q2_0]);
  f.template operator()<Q4_0>(table.linear[k_q4_0]);
  f.template operator()<Q4_1>(table.linear[k_q4_1]);
  f.template operator()<Q5_0>(table.linear[k_q5_0]);
  f.template operator()<Q5_1>(table.linear[k_q5_1]);
  f.template operator()<Q2_K>(table.linear[k_q2_k]);
  f.template operator()<Q3_K>(table.linear[k_q3_k]);
  f.template operator()<Q4_K>(table.linear[k_q4_k]);
  f.template operator()<Q5_K>(table.linear[k_q5_k]);
  f.template operator()<Q6_K>(table.linear[k_q6_k]);
  f.template operator()<IQ4_NL>(table.linear[k_iq4_nl]);
  f.template operator()<IQ4_XS>(table.linear[k_iq4_xs]);
  f.template operator()<MXFP4>(table.linear[k_mxfp4]);
}
