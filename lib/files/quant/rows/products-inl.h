// SPDX-License-Identifier: Apache-2.0
// Products of short lists of coefficients with rows of a matrix. A tile of the matrix stays in the
// cache while all rows pass it. Included inside a namespace of one instruction set.

template <int kVectors>
ESP_INLINE void multiply_tile(const Products& p, std::int64_t column) {
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const std::int32_t n = p.count[r];
    if (n == 0) continue;
    float* out = p.out + r * p.stride + column;
    const float* coefficient = p.coefficient + r * p.coefficient_stride;
    const std::int32_t* index = p.index + r * p.index_stride;
    V sum[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[v] = p.adds ? load(out + v * kWidth) : V{};
    for (std::int32_t k = 0; k < n; ++k) {
      const V by = splat(coefficient[k]);
      const float* row = p.matrix + index[k] * p.stride + column;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[v] += by * load(row + v * kWidth);
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* at = out + v * kWidth;
      store(at, p.adds ? sum[v] : load(at) - sum[v]);
    }
  }
}

inline void multiply(const Products& p) {
  std::int64_t c = p.first;
  for (; c + 8 * kWidth <= p.end; c += 8 * kWidth) multiply_tile<8>(p, c);
  for (; c + 2 * kWidth <= p.end; c += 2 * kWidth) multiply_tile<2>(p, c);
  for (; c < p.end; c += kWidth) multiply_tile<1>(p, c);
}
