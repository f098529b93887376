// SPDX-License-Identifier: Apache-2.0
// The steps between matrix products, as formulas. Sums over many values are in double.
#include <algorithm>
#include <cmath>

#include "kernels/reference/reference.h"

namespace espalier::kernels::reference {
namespace {

void rms_norm(const float* x, const float* gain, float eps, std::int64_t n, float* out) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const float scale =
      static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps)));
  for (std::int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * gain[i];
}

void layer_norm(const float* x, const float* gain, const float* bias, float eps, std::int64_t n,
                float* out) {
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  const double mean = sum / static_cast<double>(n);
  for (std::int64_t i = 0; i < n; ++i)
    squares += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  const float scale = static_cast<float>(
                  1.0 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(eps))),
              middle = static_cast<float>(mean);
  for (std::int64_t i = 0; i < n; ++i) out[i] = (x[i] - middle) * scale * gain[i] + bias[i];
}

void rope_interleaved(float* x, const float* c, const float* s, std::int64_t n) {
  for (std::int64_t i = 0; i < n / 2; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * c[i] - b * s[i];
    x[2 * i + 1] = a * s[i] + b * c[i];
  }
}

void rope_half_split(float* x, const float* c, const float* s, std::int64_t n) {
  const std::int64_t half = n / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * c[i] - b * s[i];
    x[i + half] = a * s[i] + b * c[i];
  }
}

void silu_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

float gelu_of(float x) {
  return 0.5f * x * (1.0f + std::tanh(0.797884561f * (x + 0.044715f * x * x * x)));
}

void gelu_mul(const float* gate, const float* up, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = gelu_of(gate[i]) * up[i];
}

void gelu(std::int64_t n, float* inout) {
  for (std::int64_t i = 0; i < n; ++i) inout[i] = gelu_of(inout[i]);
}

void relu_squared(std::int64_t n, float* inout) {
  for (std::int64_t i = 0; i < n; ++i)
    inout[i] = inout[i] <= 0 ? 0.0f : inout[i] * inout[i];  // NaN stays NaN
}

void soft_cap(float* x, float scale, float cap, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = cap * std::tanh(x[i] * scale / cap);
}

void add(const float* x, std::int64_t n, float* inout) {
  for (std::int64_t i = 0; i < n; ++i) inout[i] += x[i];
}

}  // namespace

void fill_steps(StepKernels& steps) {
  steps = {.rms_norm = rms_norm,
           .layer_norm = layer_norm,
           .rope_interleaved = rope_interleaved,
           .rope_half_split = rope_half_split,
           .silu_mul = silu_mul,
           .gelu_mul = gelu_mul,
           .gelu = gelu,
           .relu_squared = relu_squared,
           .soft_cap = soft_cap,
           .add = add,
           .kv = {}};
  fill_kv(steps.kv);
}

}  // namespace espalier::kernels::reference
