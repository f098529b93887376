// SPDX-License-Identifier: Apache-2.0
// Products of levels and int8 activations by SDOT: four products per lane added to 32 bits at once.
// Levels of up to 6 bits are used directly as signed bytes, so no offset is needed. Included inside
// an unnamed namespace after V.
template <int kBits>
struct Dot {
  static constexpr int kDepth = 8;
  static constexpr bool kOffset128 = false;
  using W = V::I;
  using Sum = V::I;
  static W weights(V::I levels) { return levels; }
  static Sum first(W w, V::I x) { return vdotq_s32(V::izero(), V::bytes(w), V::bytes(x)); }
  static Sum step(Sum sum, W w, V::I x) { return vdotq_s32(sum, V::bytes(w), V::bytes(x)); }
  static V::I widen(Sum sum) { return sum; }
  static V::I widen_scaled(Sum sum, V::I scale) { return V::mul32(sum, scale); }
};

// Adds four products per lane to 32 bits. This is the ISA's instruction for one exact int8 dot
// product.
inline V::I dot_int8(V::I sum, V::I a, V::I b) { return vdotq_s32(sum, V::bytes(a), V::bytes(b)); }
