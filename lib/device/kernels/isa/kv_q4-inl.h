// SPDX-License-Identifier: Apache-2.0
// The levels of a Q4_0 block of the KV cache. Included inside an unnamed namespace, by every
// instruction set and by the reference.

// x[32] -> 16 bytes of levels 0 to 15. Value i is in the low half of byte i, value 16 + i in the
// high half. value = scale * (level - 8).
//
// Returns the scale that maps the value of largest magnitude to level 0. Returns 0 for (nearly)
// zeros, and NaN when a value is not finite.
inline float kv_q4_levels(const float* x, unsigned char* levels) {
  float extreme = 0, most = 0, not_finite = 0;
  for (int i = 0; i < 32; ++i) {
    const float size = __builtin_fabsf(x[i]);
    not_finite += x[i] * 0.0f;  // 0 * infinity and 0 * NaN are NaN
    if (size > most) {
      most = size;
      extreme = x[i];
    }
  }
  const bool zero = !(most > kSmallestQuantized);
  const float scale = zero ? 0.0f : extreme / -8.0f, inverse = zero ? 0.0f : -8.0f / extreme;
  for (int i = 0; i < 16; ++i) {
    int level[2];
    for (int half = 0; half < 2; ++half) {
      const float v = __builtin_rintf(x[i + 16 * half] * inverse);  // -8 to 8 if finite
      level[half] = v >= 7.0f ? 15 : v >= -8.0f ? static_cast<int>(v) + 8 : 0;
    }
    levels[i] = static_cast<unsigned char>(level[0] | level[1] << 4);
  }
  return scale + not_finite;
}
