// SPDX-License-Identifier: Apache-2.0
// Products of square tiles of doubles. Included inside a namespace of one instruction set.

ESP_INLINE HalfD load_doubles(const double* p) {
  HalfD v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
ESP_INLINE void store_doubles(double* p, HalfD v) { std::memcpy(p, &v, sizeof v); }

// c -= a b, the products one by one. A strip of b is copied to where it stays in the cache.
inline void multiply_tile(const double* a, const double* b, double* c) {
  constexpr int kPart = kWidth / 2, kStrip = 2 * kPart, kRows = 4;
  for (int j = 0; j < kTile; j += kStrip) {
    HalfD left[kTile], right[kTile];
    for (int k = 0; k < kTile; ++k) {
      left[k] = load_doubles(b + k * kTile + j);
      right[k] = load_doubles(b + k * kTile + j + kPart);
    }
    for (int i = 0; i < kTile; i += kRows) {
      const double* row = a + i * kTile;
      double* out = c + i * kTile + j;
      HalfD sum_left[kRows], sum_right[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        sum_left[r] = load_doubles(out + r * kTile);
        sum_right[r] = load_doubles(out + r * kTile + kPart);
      }
      for (int k = 0; k < kTile; ++k) {
        const HalfD of_left = left[k], of_right = right[k];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const HalfD by = row[r * kTile + k] - HalfD{};
          sum_left[r] -= by * of_left;
          sum_right[r] -= by * of_right;
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        store_doubles(out + r * kTile, sum_left[r]);
        store_doubles(out + r * kTile + kPart, sum_right[r]);
      }
    }
  }
}
