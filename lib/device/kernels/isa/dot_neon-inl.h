// SPDX-License-Identifier: Apache-2.0
// Products of levels and int8 activations by byte multiplications into 16 bits (ARMv8 without the
// dot product). Included inside an unnamed namespace after V.
//
// 127 * (2^bits - 1) times the depth stays below 2^15 for 8 steps of up to 5 bits and 4 steps of 6
// bits, and 127 * 128 for 2 steps of 8. Levels of up to 6 bits are used directly as signed bytes.
template <int kBits>
struct Dot {
  static constexpr int kDepth = kBits <= 5 ? 8 : kBits == 6 ? 4 : 2;  // steps between widenings
  static constexpr bool kOffset128 = false;
  using W = V::I;
  struct Sum {
    int16x8_t low, high;  // rows 0 and 1, rows 2 and 3: four columns each
  };
  static W weights(V::I levels) { return levels; }
  static Sum first(W w, V::I x) {
    return {vmull_s8(vget_low_s8(V::bytes(w)), vget_low_s8(V::bytes(x))),
            vmull_high_s8(V::bytes(w), V::bytes(x))};
  }
  static Sum step(Sum sum, W w, V::I x) {
    return {vmlal_s8(sum.low, vget_low_s8(V::bytes(w)), vget_low_s8(V::bytes(x))),
            vmlal_high_s8(sum.high, V::bytes(w), V::bytes(x))};
  }
  static V::I widen(Sum sum) { return vpaddq_s32(vpaddlq_s16(sum.low), vpaddlq_s16(sum.high)); }
  static V::I widen_scaled(Sum sum, V::I scale) { return V::mul32(widen(sum), scale); }
};

// Adds four products per lane to 32 bits. These are the ISA's instructions for one exact int8 dot
// product.
inline V::I dot_int8(V::I sum, V::I a, V::I b) {
  return V::add32(sum, Dot<8>::widen(Dot<8>::first(a, b)));
}
