// SPDX-License-Identifier: Apache-2.0
// Products of unsigned levels and int8 activations by VNNI: four products per lane added to 32 bits
// at once. 8-bit weights become unsigned by adding 128. The excess of the product is 128 * (sum of
// the activations), which the caller subtracts like a minimum.
//
// Included inside an unnamed namespace after V and dpbusd(sum, unsigned, signed).
template <int kBits>
struct Dot {
  static constexpr int kDepth = 8;
  static constexpr bool kOffset128 = kBits == 8;
  using W = V::I;
  using Sum = V::I;
  static W weights(V::I levels) {
    if constexpr (kBits == 8) return V::ixor(levels, V::iset8(0x80));
    return levels;
  }
  static V::I first(const W& w, V::I x) { return dpbusd(V::izero(), w, x); }
  static V::I step(V::I sum, const W& w, V::I x) { return dpbusd(sum, w, x); }
  static V::I widen(V::I sum) { return sum; }
  static V::I widen_scaled(V::I sum, V::I scale) { return V::mul32(sum, scale); }
};

// Adds four products per lane to 32 bits. This is the ISA's instruction for one exact int8 dot
// product.
inline V::I dot_int8(V::I sum, V::I u, V::I s) { return dpbusd(sum, u, s); }
