// SPDX-License-Identifier: Apache-2.0
// The element-wise steps. Included inside an unnamed namespace after V and tails-inl.h.

// e^x for x in [-87, 88], clamped outside. The relative error is below 3e-7. x = n ln 2 + r with
// |r| <= ln 2 / 2, and e^r by its Taylor polynomial of degree 7 (remainder 5e-9). NaN stays NaN:
// min and max return their second operand when either is NaN.
inline V::F exponential(V::F x) {
  x = V::min(V::set1(88.0f), V::max(V::set1(-87.0f), x));
  const V::F n = V::round(V::mul(x, V::set1(1.44269504f)));
  V::F r = V::fma(n, V::set1(-0.693145752f),
                  x);  // ln 2 = 0.693145752 (few bits: n * it is exact) + 1.42860677e-6
  r = V::fma(n, V::set1(-1.42860677e-6f), r);
  V::F p = V::set1(1.0f / 5040);
  p = V::fma(p, r, V::set1(1.0f / 720));
  p = V::fma(p, r, V::set1(1.0f / 120));
  p = V::fma(p, r, V::set1(1.0f / 24));
  p = V::fma(p, r, V::set1(1.0f / 6));
  p = V::fma(p, r, V::set1(0.5f));
  p = V::fma(p, r, V::set1(1.0f));
  p = V::fma(p, r, V::set1(1.0f));
  return V::scale2(p, V::to_int(n));
}

void rms_norm(const float* x, const float* gain, float eps, std::int64_t n, float* out) {
  V::F sum[2] = {V::zero(), V::zero()};
  std::int64_t i = 0;
  for (; i + 2 * V::kLanes <= n; i += 2 * V::kLanes) {
    const V::F a = V::load(x + i), b = V::load(x + i + V::kLanes);
    sum[0] = V::fma(a, a, sum[0]);
    sum[1] = V::fma(b, b, sum[1]);
  }
  for (; i < n; i += V::kLanes) {
    const V::F a = load_some(x + i, n - i);
    sum[0] = V::fma(a, a, sum[0]);
  }
  const float mean = V::sum(V::add(sum[0], sum[1])) / static_cast<float>(n);
  const V::F scale = V::set1(1.0f / __builtin_sqrtf(mean + eps));
  for (i = 0; i < n; i += V::kLanes)
    store_some(out + i, V::mul(V::mul(load_some(x + i, n - i), scale), load_some(gain + i, n - i)),
               n - i);
}

// Sum of (x - from)^power over n values, power 1 or 2.
template <int kPower>
float sum_of_powers(const float* x, float from, std::int64_t n) {
  const V::F middle = V::set1(from);
  V::F sum[2] = {V::zero(), V::zero()};
  const auto add = [&](V::F& total, V::F a) {
    total = kPower == 2 ? V::fma(a, a, total) : V::add(total, a);
  };
  std::int64_t i = 0;
  for (; i + 2 * V::kLanes <= n; i += 2 * V::kLanes) {
    add(sum[0], V::sub(V::load(x + i), middle));
    add(sum[1], V::sub(V::load(x + i + V::kLanes), middle));
  }
  for (; i + V::kLanes <= n; i += V::kLanes) add(sum[0], V::sub(V::load(x + i), middle));
  float total = V::sum(V::add(sum[0], sum[1]));
  for (; i < n; ++i) total += kPower == 2 ? (x[i] - from) * (x[i] - from) : x[i] - from;
  return total;
}

void layer_norm(const float* x, const float* gain, const float* bias, float eps, std::int64_t n,
                float* out) {
  const float mean = sum_of_powers<1>(x, 0.0f, n) / static_cast<float>(n);
  const float variance = sum_of_powers<2>(x, mean, n) / static_cast<float>(n);
  const V::F scale = V::set1(1.0f / __builtin_sqrtf(variance + eps)), middle = V::set1(mean);
  for (std::int64_t i = 0; i < n; i += V::kLanes) {
    const V::F normed = V::mul(V::sub(load_some(x + i, n - i), middle), scale);
    store_some(out + i, V::fma(normed, load_some(gain + i, n - i), load_some(bias + i, n - i)),
               n - i);
  }
}

void rope_interleaved(float* x, const float* c, const float* s, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    const V::F v = V::load(x + i);
    V::store(x + i, V::alternate(v, V::duplicate(c + i / 2),
                                 V::mul(V::swap_pairs(v), V::duplicate(s + i / 2))));
  }
  for (; i + 1 < n; i += 2) {
    const float a = x[i], b = x[i + 1];
    x[i] = a * c[i / 2] - b * s[i / 2];
    x[i + 1] = a * s[i / 2] + b * c[i / 2];
  }
}

void silu_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; i += V::kLanes) {
    const V::F g = load_some(gate + i, n - i);
    const V::F silu = V::div(g, V::add(V::set1(1.0f), exponential(V::sub(V::zero(), g))));
    store_some(out + i, V::mul(silu, load_some(up + i, n - i)), n - i);
  }
}

void rope_half_split(float* x, const float* c, const float* s, std::int64_t n) {
  const std::int64_t half = n / 2;
  std::int64_t i = 0;
  for (; i + V::kLanes <= half; i += V::kLanes) {
    const V::F a = V::load(x + i), b = V::load(x + half + i), cosine = V::load(c + i),
               sine = V::load(s + i);
    V::store(x + i, V::sub(V::mul(a, cosine), V::mul(b, sine)));
    V::store(x + half + i, V::fma(b, cosine, V::mul(a, sine)));
  }
  for (; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    x[i] = a * c[i] - b * s[i];
    x[half + i] = a * s[i] + b * c[i];
  }
}

// gelu(x) = x / (1 + e^(-2 z)), z = sqrt(2 / pi) (x + 0.044715 x^3)
inline V::F gelu_of(V::F x) {
  const V::F linear = V::set1(-1.59576912f), cubic = V::set1(-0.0713548163f);
  return V::div(x,
                V::add(V::set1(1.0f), exponential(V::mul(x, V::fma(V::mul(x, x), cubic, linear)))));
}

void gelu_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; i += V::kLanes)
    store_some(out + i, V::mul(gelu_of(load_some(gate + i, n - i)), load_some(up + i, n - i)),
               n - i);
}

void gelu(std::int64_t n, float* inout) {
  for (std::int64_t i = 0; i < n; i += V::kLanes)
    store_some(inout + i, gelu_of(load_some(inout + i, n - i)), n - i);
}

// max returns its second operand when either is NaN, so NaN stays NaN.
void relu_squared(std::int64_t n, float* inout) {
  for (std::int64_t i = 0; i < n; i += V::kLanes) {
    const V::F x = V::max(V::zero(), load_some(inout + i, n - i));
    store_some(inout + i, V::mul(x, x), n - i);
  }
}

// tanh(y) = 1 - 2 / (e^(2 y) + 1)
void soft_cap(float* x, float scale, float cap, std::int64_t n) {
  const V::F factor = V::set1(2 * scale / cap), one = V::set1(1.0f), minus_two = V::set1(-2.0f),
             size = V::set1(cap);
  for (std::int64_t i = 0; i < n; i += V::kLanes) {
    const V::F e = exponential(V::mul(load_some(x + i, n - i), factor));
    store_some(x + i, V::mul(size, V::add(one, V::div(minus_two, V::add(e, one)))), n - i);
  }
}

void add(const float* x, std::int64_t n, float* inout) {
  for (std::int64_t i = 0; i < n; i += V::kLanes)
    store_some(inout + i, V::add(load_some(inout + i, n - i), load_some(x + i, n - i)), n - i);
}
