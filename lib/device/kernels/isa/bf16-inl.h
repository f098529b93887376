// SPDX-License-Identifier: Apache-2.0
// y = W x of many tokens for BF16 weights in place. Activations are rounded to bfloat16. Products
// and sums are float (VDPBF16PS: two columns per lane, denormals are zeros). That gives twice the
// products per instruction of float-inl.h, and nothing is unpacked. Included inside an unnamed
// namespace after V, tails-inl.h.
constexpr std::int64_t kPairCols = 2 * V::kLanes;
static_assert(kPairCols == kBf16Step);
// Columns of four rows that stay in the first-level cache while the tokens pass.
constexpr std::int64_t kBf16Cols = 2048;
constexpr int kBf16Tokens = 6;

inline __m512bh load_pairs(const std::uint16_t* p) {
  return __builtin_bit_cast(__m512bh, _mm512_loadu_si512(p));
}
inline __m512bh load_some_pairs(const std::uint16_t* p, std::int64_t n) {
  if (n >= kPairCols) return load_pairs(p);
  alignas(64) std::uint16_t lanes[kPairCols] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load_pairs(lanes);
}

void round_bf16(const float* x, std::int64_t n, std::uint16_t* out) {
  for (std::int64_t i = 0; i < n; i += V::kLanes) {
    const auto rounded = __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(load_some(x + i, n - i)));
    if (n - i >= V::kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), rounded);
      continue;
    }
    alignas(32) std::uint16_t lanes[V::kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), rounded);
    for (std::int64_t j = 0; j < n - i; ++j) out[i + j] = lanes[j];
  }
}

// y[t][0, rows) += four rows of W times x[t], t < kTokens, over `cols` columns. x is padded with
// zeros to whole vectors.
template <int kTokens>
inline void dot_pairs(const std::uint16_t* const (&w)[4], const std::uint16_t* x, std::int64_t ldx,
                      std::int64_t cols, float* y, std::int64_t ldy, std::int64_t rows) {
  V::F sum[kTokens][4];
#pragma GCC unroll 6
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) sum[t][r] = V::zero();
  const auto step = [&](const __m512bh(&weights)[4], std::int64_t c) {
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) {
      const __m512bh values = load_pairs(x + t * ldx + c);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) sum[t][r] = _mm512_dpbf16_ps(sum[t][r], weights[r], values);
    }
  };
  std::int64_t c = 0;
  for (; c + kPairCols <= cols; c += kPairCols)
    step({load_pairs(w[0] + c), load_pairs(w[1] + c), load_pairs(w[2] + c), load_pairs(w[3] + c)},
         c);
  if (const std::int64_t left = cols - c; left > 0)
    step({load_some_pairs(w[0] + c, left), load_some_pairs(w[1] + c, left),
          load_some_pairs(w[2] + c, left), load_some_pairs(w[3] + c, left)},
         c);
#pragma GCC unroll 6
  for (int t = 0; t < kTokens; ++t) {
    float four[4];
    V::sum4(sum[t][0], sum[t][1], sum[t][2], sum[t][3], four);
    for (std::int64_t r = 0; r < rows; ++r) y[t * ldy + r] += four[r];
  }
}

void matmul_bf16(const WeightView& w, const ActivationView& x, std::int64_t row_begin,
                 std::int64_t row_end, float* y, std::int64_t ldy) {
  const std::int64_t ldx = x.bf16_stride;
  for (std::int64_t t = 0; t < x.n; ++t)
    for (std::int64_t row = row_begin; row < row_end; ++row) y[t * ldy + row] = 0;
  for (std::int64_t c = 0; c < w.cols; c += kBf16Cols) {
    const std::int64_t cols = smaller(kBf16Cols, w.cols - c);
    for (std::int64_t row = row_begin; row < row_end; row += 4) {
      const std::int64_t rows = smaller(4, row_end - row);
      const auto at =
          [&](std::int64_t r) {  // a missing row repeats the last one; its sums are not stored
            return reinterpret_cast<const std::uint16_t*>(w.data + (row + smaller(r, rows - 1)) *
                                                                       w.group_bytes) +
                   c;
          };
      const std::uint16_t* const four[4] = {at(0), at(1), at(2), at(3)};
      std::int64_t t = 0;
      for (; t + kBf16Tokens <= x.n; t += kBf16Tokens)
        dot_pairs<kBf16Tokens>(four, x.bf16 + t * ldx + c, ldx, cols, y + t * ldy + row, ldy, rows);
      for (; t + 2 <= x.n; t += 2)
        dot_pairs<2>(four, x.bf16 + t * ldx + c, ldx, cols, y + t * ldy + row, ldy, rows);
      for (; t < x.n; ++t)
        dot_pairs<1>(four, x.bf16 + t * ldx + c, ldx, cols, y + t * ldy + row, ldy, rows);
    }
  }
}
