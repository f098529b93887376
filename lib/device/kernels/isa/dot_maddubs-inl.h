// SPDX-License-Identifier: Apache-2.0
// Products of unsigned levels and int8 activations by sums of 16-bit pairs (no VNNI). Included
// inside an unnamed namespace after V.
//
// A pair sum is at most 2 * (2^bits - 1) * 127. So 8, 4 or 2 of them add up in 16 bits before they
// are widened, for up to 4, 5 or 6 bits. Widening multiplies by the group's integer scale at no
// cost. 8-bit weights: |w| times the activation with the sign of w.
template <int kBits>
struct Dot {
  static constexpr int kDepth = kBits == 4   ? 8
                                : kBits == 5 ? 4
                                : kBits == 6 ? 2
                                             : 8;  // steps between widenings
  static constexpr bool kOffset128 = false;
  using W = V::I;
  using Sum = V::I;
  static W weights(V::I levels) { return levels; }
  static V::I first(const W& w, V::I x) { return V::maddubs(w, x); }
  static V::I step(V::I sum, const W& w, V::I x) { return V::add16(sum, V::maddubs(w, x)); }
  static V::I widen(V::I sum) { return V::madd16(sum, V::iset32(0x00010001)); }
  static V::I widen_scaled(V::I sum, V::I scale) { return V::madd16(sum, scale); }
};

template <>
struct Dot<8> {
  static constexpr int kDepth = 8;
  static constexpr bool kOffset128 = false;
  using W = V::Signed;
  using Sum = V::I;
  static W weights(V::I levels) { return V::split_sign(levels); }
  static V::I first(const W& w, V::I x) {
    return V::madd16(V::maddubs(w.magnitude, V::apply_sign(x, w)), V::iset32(0x00010001));
  }
  static V::I step(V::I sum, const W& w, V::I x) { return V::add32(sum, first(w, x)); }
  static V::I widen(V::I sum) { return sum; }
  static V::I widen_scaled(V::I sum, V::I scale) {
    return V::mul32(sum, scale);
  }  // scale: one 32-bit number per lane
};
// Adds four products per lane to 32 bits. These are the ISA's instructions for one exact int8 dot
// product.
inline V::I dot_int8(V::I sum, V::I u, V::I s) {
  return V::add32(sum, V::madd16(V::maddubs(u, s), V::iset32(0x00010001)));
}

// Operands of widen_scaled, from a pair of 16-bit scales per lane and from signed bytes.
inline V::I scale_low(V::I pair) { return V::shuffle_bytes(pair, 0x01000100); }
inline V::I scale_high(V::I pair) { return V::shuffle_bytes(pair, 0x03020302); }
template <int kByte>
inline V::I scale_byte(V::I word) {
  return V::right16_signed<8>(V::shuffle_bytes(word, kByte * 0x01010101u));
}
