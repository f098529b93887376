// SPDX-License-Identifier: Apache-2.0
// Converts activations to bfloat16, and to int8: scale = max|x| / 127 over 32 or 256 values, q = x
// / scale rounded to nearest even.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "kernels/reference/reference.h"

namespace espalier::kernels::reference {

float quantize_group(const float* x, std::int64_t n, std::int8_t* q) {
  float largest = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  if (!finite) return std::nanf("");
  if (!(largest > kSmallestQuantized)) {
    std::fill(q, q + n, std::int8_t{0});
    return 0;
  }
  const float scale = largest / 127.0f, inverse = 127.0f / largest;
  for (std::int64_t i = 0; i < n; ++i)
    q[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(x[i] * inverse), -127.0f, 127.0f));
  return scale;
}

namespace {

void quantize_per_32(const float* x, std::int64_t n, ChunkPer32* out) {
  std::memset(static_cast<void*>(out), 0, sizeof *out);
  for (std::int64_t g = 0; g < n / 32; ++g) {
    std::int8_t* q = out->q + 32 * g;
    out->scale[g] = quantize_group(x + 32 * g, 32, q);
    int sum = 0;
    for (int i = 0; i < 32; ++i) sum += q[i];
    out->sum[g] = sum;
  }
}

void quantize_per_256(const float* x, std::int64_t n, ChunkPer256* out) {
  std::memset(static_cast<void*>(out), 0, sizeof *out);
  out->scale = quantize_group(x, n, out->q);
  for (int i = 0; i < 256; ++i) {
    out->sum16[i / 16] = static_cast<std::int16_t>(out->sum16[i / 16] + out->q[i]);
    out->sum32[i / 32] = static_cast<std::int16_t>(out->sum32[i / 32] + out->q[i]);
  }
}

void round_bf16(const float* x, std::int64_t n, std::uint16_t* out) {
  std::transform(x, x + n, out, core::float_to_bf16);
}

}  // namespace

void fill_quantize(KernelTable& table) {
  table.quantize_per_32 = quantize_per_32;
  table.quantize_per_256 = quantize_per_256;
  table.round_bf16 = round_bf16;
}

}  // namespace espalier::kernels::reference
