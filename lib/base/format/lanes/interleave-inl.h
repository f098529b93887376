// SPDX-License-Identifier: Apache-2.0
// Blocks to lanes. Included inside a namespace of one instruction set.

#ifdef ESP_AVX2
// A square of 8 x 8 values, turned over its diagonal.
ESP_INLINE void turn(const float* blocks, std::int64_t stride, float* out) {
  V pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    const V a = load(blocks + i * stride), b = load(blocks + (i + 1) * stride);
    pairs[i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; ++k) {
      const V a = pairs[i + k], b = pairs[i + k + 2];
      fours[i + 2 * k] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * k + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; ++i) {
    store(out + i * kLanes,
          __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(out + (i + 4) * kLanes,
          __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}
inline void interleave(const float* blocks, std::int64_t stride, int n, float* out) {
  for (int i = 0; i < n; i += 8) turn(blocks + i, stride, out + i * kLanes);
}
#else
inline void interleave(const float* blocks, std::int64_t stride, int n, float* out) {
  for (int i = 0; i < n; ++i)
    for (int lane = 0; lane < kLanes; ++lane) out[i * kLanes + lane] = blocks[lane * stride + i];
}
#endif
