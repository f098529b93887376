// SPDX-License-Identifier: Apache-2.0
// y = W x of one token for row-interleaved weights and int8 activations. Levels are unpacked in
// registers, and weights are read once. All sums of a row stay in its lane. Included inside an
// unnamed namespace after V, Dot, tails-inl.h, blocks-inl.h.

// The products of 32 columns, one int32 per row: levels at p, activations x. `scale`: one or two
// operands of widen_scaled, or null.
template <typename Levels, int kScales>
inline V::I dot32(const unsigned char* p, const std::int8_t* x, const V::I* scale) {
  using D = Dot<Levels::kBits>;
  constexpr int kGroup = kScales == 2 ? 4 : 8;  // steps that share a scale
  constexpr int kDepth = D::kDepth < kGroup ? D::kDepth : kGroup;
  V::I w[8];
  unpack_levels<Levels>(p, w);
  V::I total = V::izero();
#pragma GCC unroll 8
  for (int s = 0; s < 8; s += kDepth) {
    typename D::Sum sum = D::first(D::weights(w[s]), V::broadcast32(x + 4 * s));
#pragma GCC unroll 8
    for (int i = 1; i < kDepth; ++i)
      sum = D::step(sum, D::weights(w[s + i]), V::broadcast32(x + 4 * (s + i)));
    V::I wide;
    if constexpr (kScales == 0)
      wide = D::widen(sum);
    else
      wide = D::widen_scaled(sum, scale[s / kGroup]);
    total = s == 0 ? wide : V::add32(total, wide);
  }
  return total;
}

// Prefetches `kBytes` that matvec will read V::kPrefetchAhead bytes later. Past the end of a matrix
// this has no effect.
template <std::int64_t kBytes>
inline void prefetch_ahead(const unsigned char* p) {
  if constexpr (V::kPrefetchAhead > 0) {
#pragma GCC unroll 64
    for (std::int64_t b = 0; b < kBytes; b += 64)
      __builtin_prefetch(p + V::kPrefetchAhead + b, 0, 3);
  }
}

template <typename Format>
inline V::F matvec_group(const unsigned char* p, const typename Format::Shape::Chunk* x,
                         std::int64_t cols) {
  using S = typename Format::Shape;
  V::F y = V::zero();
  if constexpr (S::kSuper) {
    for (std::int64_t c = 0; c < cols; c += kChunk, p += Format::kBytes, ++x) {
      prefetch_ahead<Format::kBytes>(p);
      V::I scale[S::kScales], pair[S::kPairs];
      V::F d, d2;
      Format::scales(p, scale, pair, &d, &d2);
      const std::int16_t* sums = S::sums(*x);
      V::I sum = V::izero(), offset = V::izero();
#pragma GCC unroll 8
      for (int i = 0; i < S::kPairs; ++i)
        offset = V::add32(offset, V::madd16(pair[i], V::broadcast32(sums + 2 * i)));
      constexpr int kScalesPer32 = S::kScales / 8;
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j)
        sum = V::add32(sum, dot32<typename S::Levels, kScalesPer32>(
                                p + Format::kLevelsAt + j * V::kBytes * S::kStored, x->q + 32 * j,
                                scale + j * kScalesPer32));
      const V::F x_scale = V::set1(x->scale);
      const V::F difference = V::sub(V::mul(d, V::to_float(sum)), V::mul(d2, V::to_float(offset)));
      y = V::fma(x_scale, difference, y);
    }
  } else {
    for (std::int64_t c = 0; c < cols; c += kChunk, ++x) {
      const int n = static_cast<int>(smaller(cols - c, kChunk) / 32);
      for (int j = 0; j < n; p += Format::kBytes) {
        prefetch_ahead<Format::kBytes>(p);
        const V::F d = Format::scale(p);
#pragma GCC unroll 2
        for (int part = 0; part < Format::kParts; ++part, ++j) {
          const V::I product = dot32<typename S::Levels, 0>(
              p + Format::kLevelsAt + part * V::kBytes * S::kStored, x->q + 32 * j, nullptr);
          y = V::fma(
              d, V::mul(V::set1(x->scale[j]), V::to_float(without_offset<S>(product, x->sum + j))),
              y);
          if constexpr (S::kMinimum)
            y = V::fma(Format::minimum(p), V::set1(x->scale[j] * static_cast<float>(x->sum[j])), y);
        }
      }
    }
  }
  return y;
}

template <typename Format>
void matvec(const WeightView& w, const ActivationView& x, std::int64_t row_begin,
            std::int64_t row_end, float* y) {
  const auto* chunks = static_cast<const typename Format::Shape::Chunk*>(x.chunks);
  for (std::int64_t row = row_begin; row < row_end; row += V::kLanes) {
    const V::F values =
        matvec_group<Format>(w.data + row / V::kLanes * w.group_bytes, chunks, w.cols);
    store_some(y + row, values, row_end - row);  // the last group may have lanes without a row
  }
}
