// SPDX-License-Identifier: Apache-2.0
// Operands of Dot's widen_scaled where it multiplies 32-bit lanes, from a pair of 16-bit scales per
// lane and from signed bytes. Included inside an unnamed namespace after V.
inline V::I scale_low(V::I pair) { return V::iand(pair, V::iset32(0xFFFF)); }
inline V::I scale_high(V::I pair) { return V::right32<16>(pair); }
template <int kByte>
inline V::I scale_byte(V::I word) {
  if constexpr (kByte == 3) return V::right32_signed<24>(word);
  return V::right32_signed<24>(V::left32<24 - 8 * kByte>(word));
}
