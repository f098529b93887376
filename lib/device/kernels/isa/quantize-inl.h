// SPDX-License-Identifier: Apache-2.0
// Activations to int8, as reference/quantize.cpp defines it. Included inside an unnamed namespace
// after V.

// The largest |x| of n values. not_finite becomes NaN when a value is not finite.
inline float largest_of(const float* x, int n, V::F& not_finite) {
  V::F largest = V::zero();
  for (int i = 0; i < n; i += V::kLanes) {
    const V::F v = V::load(x + i);
    largest = V::max(largest, V::abs(v));
    not_finite = V::fma(v, V::zero(), not_finite);  // 0 * infinity and 0 * NaN are NaN
  }
  return V::largest(largest);
}
inline float scale_of(float most) { return most > kSmallestQuantized ? most / 127.0f : 0.0f; }
inline float inverse_of(float most) { return most > kSmallestQuantized ? 127.0f / most : 0.0f; }

// q = x * inverse of n values, rounded. Returns their sum, lane by lane (small integers, so exact).
inline V::F round_group(const float* x, int n, float inverse, std::int8_t* q) {
  const V::F factor = V::set1(inverse);
  V::F sum = V::zero();
  for (int i = 0; i < n; i += V::kLanes) {
    const V::I levels = V::to_int(V::mul(V::load(x + i), factor));
    V::store_int8(q + i, levels);
    sum = V::add(sum, V::to_float(levels));
  }
  return sum;
}
// Four groups of kSize values at once, because sums across lanes cost most. inverse[0, 4).
template <int kSize>
inline void round_four(const float* x, const float* inverse, std::int8_t* q, float* sums) {
  V::sum4(round_group(x, kSize, inverse[0], q),
          round_group(x + kSize, kSize, inverse[1], q + kSize),
          round_group(x + 2 * kSize, kSize, inverse[2], q + 2 * kSize),
          round_group(x + 3 * kSize, kSize, inverse[3], q + 3 * kSize), sums);
}

// Returns the scale: max|x| / 127, 0 when all values are (nearly) zero, NaN when a value is not
// finite.
inline float quantize_group(const float* x, int n, std::int8_t* q) {
  V::F not_finite = V::zero();
  const float most = largest_of(x, n, not_finite);
  round_group(x, n, inverse_of(most), q);
  return scale_of(most) + V::sum(not_finite);
}

// The values of a chunk. Missing values at its end are 0.
struct WholeChunk {
  alignas(64) float copy[kChunk];
  const float* x;
  WholeChunk(const float* from, std::int64_t n) : x(from) {
    if (n == kChunk) return;
    __builtin_memcpy(copy, from, static_cast<std::size_t>(n) * sizeof(float));
    __builtin_memset(copy + n, 0, static_cast<std::size_t>(kChunk - n) * sizeof(float));
    x = copy;
  }
};

// A value that is not finite makes all scales of its chunk NaN. The products of its row show it
// either way.
void quantize_per_32(const float* values, std::int64_t n, ChunkPer32* out) {
  const WholeChunk chunk(values, n);
  V::F not_finite = V::zero();
  float most[8], inverse[8];
  for (int g = 0; g < 8; ++g) most[g] = largest_of(chunk.x + 32 * g, 32, not_finite);
  const float nothing = V::sum(not_finite);  // 0 or NaN
  for (int g = 0; g < 8; ++g) {
    inverse[g] = inverse_of(most[g]);
    out->scale[g] = scale_of(most[g]) + nothing;
  }
  if (nothing != 0) {
    __builtin_memset(out->sum, 0, sizeof out->sum);
    __builtin_memset(out->q, 0, sizeof out->q);
    return;
  }
  for (int g = 0; g < 8; g += 4) {
    float sums[4];
    round_four<32>(chunk.x + 32 * g, inverse + g, out->q + 32 * g, sums);
    for (int k = 0; k < 4; ++k) out->sum[g + k] = static_cast<std::int32_t>(sums[k]);
  }
}

void quantize_per_256(const float* values, std::int64_t n, ChunkPer256* out) {
  const WholeChunk chunk(values, n);
  V::F not_finite = V::zero();
  const float most = largest_of(chunk.x, kChunk, not_finite), nothing = V::sum(not_finite);
  if (nothing != 0) {
    __builtin_memset(static_cast<void*>(out), 0, sizeof *out);
    out->scale = nothing;
    return;
  }
  out->scale = scale_of(most);
  const float one = inverse_of(most), inverse[4] = {one, one, one, one};
  for (int g = 0; g < 16; g += 4) {
    float sums[4];
    round_four<16>(chunk.x + 16 * g, inverse, out->q + 16 * g, sums);
    for (int k = 0; k < 4; ++k) out->sum16[g + k] = static_cast<std::int16_t>(sums[k]);
    for (int k = 0; k < 2; ++k)
      out->sum32[g / 2 + k] =
          static_cast<std::int16_t>(out->sum16[g + 2 * k] + out->sum16[g + 2 * k + 1]);
  }
}
