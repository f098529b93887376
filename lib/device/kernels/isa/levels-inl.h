// SPDX-License-Identifier: Apache-2.0
// Interleaved levels of 32 columns (kernels/layout.h) to 8 vectors of bytes. Included inside an
// unnamed namespace after V.

template <int kStep>
inline V::I third_bit(V::I high) {  // bit kStep of each byte, moved to bit 2
  if constexpr (kStep < 2) high = V::left16<2 - kStep>(high);
  if constexpr (kStep > 2) high = V::right16<kStep - 2>(high);
  return V::iand(high, V::iset8(0x04));
}

template <int kStep>
inline V::I fifth_bit(V::I high) {  // bit kStep of each byte, moved to bit 4
  if constexpr (kStep < 4) high = V::left16<4 - kStep>(high);
  if constexpr (kStep > 4) high = V::right16<kStep - 4>(high);
  return V::iand(high, V::iset8(0x10));
}

template <int kStep>
inline V::I sixth_bits(V::I high) {  // the pair of bits of step kStep % 4, moved to bits 4-5
  constexpr int kShift = 4 - 2 * (kStep % 4);
  if constexpr (kShift > 0) high = V::left16<kShift>(high);
  if constexpr (kShift < 0) high = V::right16<-kShift>(high);
  return V::iand(high, V::iset8(0x30));
}

// The vector of step kStep from the levels of kBits at p.
template <int kBits, int kStep>
inline V::I stored_levels(const unsigned char* p) {
  if constexpr (kBits == 8) {
    return V::iload(p + kStep * V::kBytes);
  } else if constexpr (kBits == 2 || kBits == 3) {
    V::I four = V::iload(p + kStep / 4 * V::kBytes);
    if constexpr (kStep % 4 > 0) four = V::right16<2 * (kStep % 4)>(four);
    four = V::iand(four, V::iset8(0x03));
    if constexpr (kBits == 3) four = V::ior(four, third_bit<kStep>(V::iload(p + 2 * V::kBytes)));
    return four;
  } else {
    V::I low = V::iload(p + kStep % 4 * V::kBytes);
    if constexpr (kStep >= 4) low = V::right16<4>(low);
    low = V::iand(low, V::iset8(0x0F));
    if constexpr (kBits == 5) low = V::ior(low, fifth_bit<kStep>(V::iload(p + 4 * V::kBytes)));
    if constexpr (kBits == 6)
      low = V::ior(low, sixth_bits<kStep>(V::iload(p + (4 + kStep / 4) * V::kBytes)));
    return low;
  }
}

// How a format keeps its levels. kStored: bits in memory. kBits: bits that Dot multiplies.
//
// Levels that are multiplied as they are stored.
template <int kBitsOf>
struct PlainLevels {
  static constexpr int kStored = kBitsOf, kBits = kBitsOf;
  template <int kStep>
  static V::I step(const unsigned char* p) {
    return stored_levels<kStored, kStep>(p);
  }
};
// 4 bits that choose one of 16 bytes: signed for kBitsOf = 8, else 0 .. 2^kBitsOf - 1.
template <const std::int8_t* kTable, int kBitsOf>
struct TableLevels {
  static constexpr int kStored = 4, kBits = kBitsOf;
  template <int kStep>
  static V::I step(const unsigned char* p) {
    return V::lookup16(kTable, stored_levels<kStored, kStep>(p));
  }
};

template <typename Levels>
inline void unpack_levels(const unsigned char* p, V::I* w) {
  w[0] = Levels::template step<0>(p);
  w[1] = Levels::template step<1>(p);
  w[2] = Levels::template step<2>(p);
  w[3] = Levels::template step<3>(p);
  w[4] = Levels::template step<4>(p);
  w[5] = Levels::template step<5>(p);
  w[6] = Levels::template step<6>(p);
  w[7] = Levels::template step<7>(p);
}

// The 8 pairs of 6-bit values of Q4_K and Q5_K. Pairs 0-3 are scales, pairs 4-7 mins.
inline void unpack_pairs(const unsigned char* words, V::I* pair) {
  const V::I w0 = V::iload(words), w1 = V::iload(words + V::kBytes),
             w2 = V::iload(words + 2 * V::kBytes);
  const V::I six = V::iset32(0x003F003F);
  pair[0] = V::iand(w0, six);
  pair[1] = V::iand(V::right16<6>(w0), six);
  pair[2] = V::iand(w1, six);
  pair[3] = V::iand(V::right16<6>(w1), six);
  pair[4] = V::iand(w2, six);
  pair[5] = V::iand(V::right16<6>(w2), six);
  const V::I high = V::iset32(0x00300030);
  pair[6] = V::ior(V::right16<12>(w0), V::iand(V::right16<8>(w2), high));
  pair[7] = V::ior(V::right16<12>(w1), V::iand(V::right16<10>(w2), high));
}
