// SPDX-License-Identifier: Apache-2.0
// A value times zero is zero, unless it is infinite or not a number.
#include "model/finite.h"

#include <ATen/Parallel.h>

#include <atomic>

#include "model/vector_math.h"

namespace espalier::model {
namespace {

ESP_VECTOR_CLONES bool finite(const float* values, std::int64_t n) {
  Float8 zeros = {};
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) zeros += load8(values + i) * 0.0f;
  float zero = sum8(zeros);
  for (; i < n; ++i) zero += values[i] * 0.0f;
  return zero == 0.0f;
}

}  // namespace

bool all_finite(const torch::Tensor& t) {
  if (!t.is_cpu() || !t.is_contiguous() || t.scalar_type() != torch::kFloat32)
    return torch::isfinite(t).all().item<bool>();
  const float* values = t.const_data_ptr<float>();
  std::atomic<bool> all{true};
  at::parallel_for(0, t.numel(), 1 << 16, [&](std::int64_t begin, std::int64_t end) {
    if (!finite(values + begin, end - begin)) all = false;
  });
  return all;
}

}  // namespace espalier::model
