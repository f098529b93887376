// SPDX-License-Identifier: Apache-2.0
// y = W x for F32, F16 and BF16 weights in place, with float activations. Included inside an
// unnamed namespace after V, tails-inl.h.
//
// matvec streams four rows side by side. matmul converts 4 rows x 1024 columns to float in the
// first-level cache for a block of tokens. Then it multiplies tiles of 4 rows x kDotTokens tokens.
// The order of a row's sums depends on neither, so the number of threads changes nothing.

template <typename Float, int kRows>
inline void matvec_rows(const unsigned char* const (&rows)[kRows], const float* x,
                        std::int64_t cols, float* y) {
  using Stored = typename Float::Stored;
  constexpr std::int64_t kStep = 2 * V::kLanes;
  V::F sum[kRows][2];
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = V::zero();
  std::int64_t c = 0;
  for (; c + kStep <= cols; c += kStep) {
    const V::F x0 = V::load(x + c), x1 = V::load(x + c + V::kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Stored* w = reinterpret_cast<const Stored*>(rows[r]) + c;
      sum[r][0] = V::fma(Float::load(w), x0, sum[r][0]);
      sum[r][1] = V::fma(Float::load(w + V::kLanes), x1, sum[r][1]);
    }
  }
  for (; c < cols; c += V::kLanes) {
    const V::F some = load_some(x + c, cols - c);
    for (int r = 0; r < kRows; ++r)
      sum[r][0] = V::fma(load_some<Float>(reinterpret_cast<const Stored*>(rows[r]) + c, cols - c),
                         some, sum[r][0]);
  }
  for (int r = 0; r < kRows; ++r) y[r] = V::sum(V::add(sum[r][0], sum[r][1]));
}

template <typename Float>
void matvec_float(const WeightView& w, const ActivationView& x, std::int64_t row_begin,
                  std::int64_t row_end, float* y) {
  std::int64_t row = row_begin;
  for (; row + 4 <= row_end; row += 4) {
    const unsigned char* p = w.data + row * w.group_bytes;
    matvec_rows<Float, 4>({p, p + w.group_bytes, p + 2 * w.group_bytes, p + 3 * w.group_bytes},
                          x.f32, w.cols, y + row);
  }
  for (; row < row_end; ++row)
    matvec_rows<Float, 1>({w.data + row * w.group_bytes}, x.f32, w.cols, y + row);
}

constexpr int kPanelRows = 4;  // rows that dot_rows takes at once
constexpr std::int64_t kPanelCols = 1024;
constexpr int kDotTokens = V::kRegisters == 32 ? 6 : 3;
constexpr std::int64_t kFloatTokenBlock = 132;  // a multiple of kDotTokens

// y[t][0, rows) += panel x[t], t < kTokens, over `cols` columns. Rows of y are ldy apart.
template <int kTokens>
inline void dot_rows(const float* w, const float* x, std::int64_t ldx, std::int64_t cols, float* y,
                     std::int64_t ldy, std::int64_t rows) {
  V::F sum[kTokens][4];
  for (int t = 0; t < kTokens; ++t)
    for (int r = 0; r < 4; ++r) sum[t][r] = V::zero();
  std::int64_t c = 0;
  for (; c + V::kLanes <= cols; c += V::kLanes) {
    V::F values[kTokens];
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) values[t] = V::load(x + t * ldx + c);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const V::F weight = V::load(w + r * kPanelCols + c);
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) sum[t][r] = V::fma(weight, values[t], sum[t][r]);
    }
  }
  if (c < cols)
    for (int t = 0; t < kTokens; ++t)
      for (int r = 0; r < 4; ++r)
        sum[t][r] = V::fma(load_some(w + r * kPanelCols + c, cols - c),
                           load_some(x + t * ldx + c, cols - c), sum[t][r]);
  for (int t = 0; t < kTokens; ++t) {
    float four[4];
    V::sum4(sum[t][0], sum[t][1], sum[t][2], sum[t][3], four);
    for (std::int64_t r = 0; r < rows; ++r) y[t * ldy + r] += four[r];
  }
}

// A panel as float: `rows` rows of W from `row` on, columns [c, c + cols). A missing row repeats
// the last one, and its sums are not stored.
using FillPanel = void(const WeightView& w, std::int64_t row, std::int64_t rows, std::int64_t c,
                       std::int64_t cols, float* panel);
template <typename Float>
void fill_panel(const WeightView& w, std::int64_t row, std::int64_t rows, std::int64_t c,
                std::int64_t cols, float* panel) {
  for (int r = 0; r < kPanelRows; ++r) {
    const unsigned char* p = w.data + (row + smaller(r, rows - 1)) * w.group_bytes;
    const auto* source = reinterpret_cast<const typename Float::Stored*>(p) + c;
    for (std::int64_t i = 0; i < cols; i += V::kLanes)
      V::store(panel + r * kPanelCols + i, load_some<Float>(source + i, cols - i));
  }
}

[[gnu::noinline]] void matmul_panels(const WeightView& w, const ActivationView& x,
                                     std::int64_t row_begin, std::int64_t row_end, float* y,
                                     std::int64_t ldy, FillPanel* fill) {
  alignas(64) float panel[kPanelRows * kPanelCols];
  for (std::int64_t t0 = 0; t0 < x.n; t0 += kFloatTokenBlock) {
    const std::int64_t t1 = smaller(t0 + kFloatTokenBlock, x.n);
    for (std::int64_t row = row_begin; row < row_end; row += kPanelRows) {
      const std::int64_t rows = smaller(kPanelRows, row_end - row);
      for (std::int64_t t = t0; t < t1; ++t)
        for (std::int64_t r = 0; r < rows; ++r) y[t * ldy + row + r] = 0;
      for (std::int64_t c = 0; c < w.cols; c += kPanelCols) {
        const std::int64_t cols = smaller(kPanelCols, w.cols - c);
        fill(w, row, rows, c, cols, panel);
        std::int64_t t = t0;
        for (; t + kDotTokens <= t1; t += kDotTokens)
          dot_rows<kDotTokens>(panel, x.f32 + t * x.cols + c, x.cols, cols, y + t * ldy + row, ldy,
                               rows);
        for (; t + 2 <= t1; t += 2)
          dot_rows<2>(panel, x.f32 + t * x.cols + c, x.cols, cols, y + t * ldy + row, ldy, rows);
        for (; t < t1; ++t)
          dot_rows<1>(panel, x.f32 + t * x.cols + c, x.cols, cols, y + t * ldy + row, ldy, rows);
      }
    }
  }
}

template <typename Float>
void matmul_float(const WeightView& w, const ActivationView& x, std::int64_t row_begin,
                  std::int64_t row_end, float* y, std::int64_t ldy) {
  matmul_panels(w, x, row_begin, row_end, y, ldy, fill_panel<Float>);
}

template <typename Float>
void fill_float(LinearKernel& kernel) {
  kernel.interleave = 1;
  kernel.form = ActivationForm::f32;
  kernel.matvec = matvec_float<Float>;
  kernel.matmul = matmul_float<Float>;
}
