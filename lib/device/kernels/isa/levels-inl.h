// SPDX-License-Identifier: Apache-2.0
// Interleaved levels of 32 columns (kernels/layout.h) to 8 vectors of bytes. Included inside an
// unnamed namespace after V.

// Stands for a number of bits: 4 bits that choose one of the 16 signed bytes of format::kCodebook4.
constexpr int kCodebookLevels = 100;
constexpr int stored_bits(int bits) { return bits == kCodebookLevels ? 4 : bits; }

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

// The vector of step kStep from the levels at p.
template <int kBits, int kStep>
inline V::I levels_of_step(const unsigned char* p) {
  if constexpr (kBits == 8) {
    return V::iload(p + kStep * V::kBytes);
  } else if constexpr (kBits == kCodebookLevels) {
    return V::lookup16(format::kCodebook4, levels_of_step<4, kStep>(p));
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

template <int kBits>
inline void unpack_levels(const unsigned char* p, V::I* w) {
  w[0] = levels_of_step<kBits, 0>(p);
  w[1] = levels_of_step<kBits, 1>(p);
  w[2] = levels_of_step<kBits, 2>(p);
  w[3] = levels_of_step<kBits, 3>(p);
  w[4] = levels_of_step<kBits, 4>(p);
  w[5] = levels_of_step<kBits, 5>(p);
  w[6] = levels_of_step<kBits, 6>(p);
  w[7] = levels_of_step<kBits, 7>(p);
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
