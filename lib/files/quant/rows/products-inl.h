// SPDX-License-Identifier: Apache-2.0
// Products of coefficients with rows of a matrix. A tile of the matrix is copied to one place,
// where it stays in the cache while all rows pass it. Included inside a namespace of one
// instruction set.

// kTogetherRows rows of `out` from `row` on, kVectors vectors of each. The tile has n rows of as
// many vectors. term(k): the tile's row of term k.
template <int kTogetherRows, int kVectors>
ESP_INLINE void multiply_rows(const Products& p, const V* tile, std::int64_t row,
                              std::int64_t column, const std::int32_t* index, std::int32_t n) {
  V sum[kTogetherRows][kVectors];
  float* out = p.out + row * p.stride + column;
  const float* coefficient = p.coefficient + row * p.coefficient_stride;
#pragma GCC unroll 2
  for (int r = 0; r < kTogetherRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = p.adds ? load(out + r * p.stride + v * kWidth) : V{};
  for (std::int32_t k = 0; k < n; ++k) {
    const V* values = tile + (index == nullptr ? k : index[k]) * kVectors;
#pragma GCC unroll 2
    for (int r = 0; r < kTogetherRows; ++r) {
      const V by = splat(coefficient[r * p.coefficient_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] += by * values[v];
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < kTogetherRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* at = out + r * p.stride + v * kWidth;
      store(at, p.adds ? sum[r][v] : load(at) - sum[r][v]);
    }
}

template <int kVectors>
ESP_INLINE void multiply_tile(const Products& p, std::int64_t column) {
  V tile[kMaxDepth * kVectors];
  for (std::int64_t k = 0; k < p.depth; ++k)
    for (int v = 0; v < kVectors; ++v)
      tile[k * kVectors + v] = load(p.matrix + k * p.stride + column + v * kWidth);
  std::int64_t r = 0;
  if (p.index != nullptr) {
    for (; r < p.rows; ++r)
      if (p.count[r] > 0)
        multiply_rows<1, kVectors>(p, tile, r, column, p.index + r * kMaxSub, p.count[r]);
    return;
  }
  const auto depth = static_cast<std::int32_t>(p.depth);
  if constexpr (kVectors <= 4)  // the sums of two rows fit in the registers
    for (; r + 2 <= p.rows; r += 2) multiply_rows<2, kVectors>(p, tile, r, column, nullptr, depth);
  for (; r < p.rows; ++r) multiply_rows<1, kVectors>(p, tile, r, column, nullptr, depth);
}

inline void multiply(const Products& p) {
  std::int64_t c = p.first;
  if (p.index != nullptr)
    for (; c + 8 * kWidth <= p.end; c += 8 * kWidth) multiply_tile<8>(p, c);
  for (; c + 4 * kWidth <= p.end; c += 4 * kWidth) multiply_tile<4>(p, c);
  for (; c < p.end; c += kWidth) multiply_tile<1>(p, c);
}
