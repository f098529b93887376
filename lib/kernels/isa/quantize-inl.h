// Activations to int8, as reference/quantize.cpp defines it. Included inside an unnamed namespace after V.

// Returns the scale: max|x| / 127, 0 when all are (nearly) zero, NaN when one is not finite.
inline float quantize_group(const float* x, int n, std::int8_t* q) {
  V::F largest = V::zero(), not_finite = V::zero();
  for (int i = 0; i < n; i += V::kLanes) {
    const V::F v = V::load(x + i);
    largest = V::max(largest, V::abs(v));
    not_finite = V::fma(v, V::zero(), not_finite);  // 0 * infinity and 0 * NaN are NaN
  }
  const float most = V::largest(largest);
  const float inverse = most > kSmallestQuantized ? 127.0f / most : 0.0f;
  const float scale = most > kSmallestQuantized ? most / 127.0f : 0.0f;
  for (int i = 0; i < n; i += V::kLanes) V::store_int8(q + i, V::to_int(V::mul(V::load(x + i), V::set1(inverse))));
  return scale + V::sum(not_finite);
}

// 16 bytes: not more than was stored at once, or the load would wait until the stores have left the core.
inline int sum_of_16(const std::int8_t* q) {
  int sum = 0;
  for (int i = 0; i < 16; ++i) sum += q[i];
  return sum;
}

void quantize_per_32(const float* x, std::int64_t n, ChunkPer32* out) {
  if (n < kChunk) __builtin_memset(static_cast<void*>(out), 0, sizeof *out);
  for (int g = 0; g < n / 32; ++g) {
    out->scale[g] = quantize_group(x + 32 * g, 32, out->q + 32 * g);
    out->sum[g] = sum_of_16(out->q + 32 * g) + sum_of_16(out->q + 32 * g + 16);
  }
}

void quantize_per_256(const float* x, std::int64_t n, ChunkPer256* out) {
  if (n < kChunk) __builtin_memset(static_cast<void*>(out), 0, sizeof *out);
  out->scale = quantize_group(x, static_cast<int>(n), out->q);
  for (int i = 0; i < 16; ++i) out->sum16[i] = static_cast<std::int16_t>(sum_of_16(out->q + 16 * i));
  for (int i = 0; i < 8; ++i) out->sum32[i] = static_cast<std::int16_t>(out->sum16[2 * i] + out->sum16[2 * i + 1]);
}
