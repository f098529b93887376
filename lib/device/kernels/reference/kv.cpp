// SPDX-License-Identifier: Apache-2.0
// Storage of keys and values in the cache's formats, and attention over them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/half.h"
#include "kernels/reference/reference.h"

namespace espalier::kernels::reference {
namespace {

#include "kernels/isa/kv_q4-inl.h"

constexpr std::int64_t kBlock = 32;

float half_at(const unsigned char* p) {
  std::uint16_t half;
  std::memcpy(&half, p, sizeof half);
  return core::half_to_float(half);
}
void put_half(float x, unsigned char* p) {
  const std::uint16_t half = core::float_to_half(x);
  std::memcpy(p, &half, sizeof half);
}

struct F32 {
  static float value(const unsigned char* row, std::int64_t d) {
    float x;
    std::memcpy(&x, row + 4 * d, sizeof x);
    return x;
  }
  static void store(const float* x, std::int64_t n, void* out) {
    std::memcpy(out, x, static_cast<std::size_t>(n) * sizeof(float));
  }
};
struct F16 {
  static float value(const unsigned char* row, std::int64_t d) { return half_at(row + 2 * d); }
  static void store(const float* x, std::int64_t n, void* out) {
    for (std::int64_t i = 0; i < n; ++i) put_half(x[i], static_cast<unsigned char*>(out) + 2 * i);
  }
};
struct Q8_0 {
  static constexpr std::int64_t kBytes = 34;
  static float value(const unsigned char* row, std::int64_t d) {
    const unsigned char* block = row + d / kBlock * kBytes;
    return half_at(block) * static_cast<float>(static_cast<std::int8_t>(block[2 + d % kBlock]));
  }
  static void store(const float* x, std::int64_t n, void* out) {
    auto* block = static_cast<unsigned char*>(out);
    for (std::int64_t i = 0; i < n; i += kBlock, block += kBytes) {
      std::int8_t levels[kBlock] = {};
      put_half(quantize_group(x + i, kBlock, levels), block);
      std::memcpy(block + 2, levels, sizeof levels);
    }
  }
};
struct Q4_0 {
  static constexpr std::int64_t kBytes = 18;
  static float value(const unsigned char* row, std::int64_t d) {
    const unsigned char* block = row + d / kBlock * kBytes;
    const unsigned char both = block[2 + d % 16];
    return half_at(block) * static_cast<float>((d % kBlock < 16 ? both & 15 : both >> 4) - 8);
  }
  static void store(const float* x, std::int64_t n, void* out) {
    auto* block = static_cast<unsigned char*>(out);
    for (std::int64_t i = 0; i < n; i += kBlock, block += kBytes)
      put_half(kv_q4_levels(x + i, block + 2), block);
  }
};

template <typename Row>
void attention(const AttentionQueries& of, const KvCached& cached) {
  const auto [q, ldq, n_queries, visible, scale, cap, scores, out, ldo] = of;
  const auto [keys, values, stride, head_dim] = cached;
  const auto* k = static_cast<const unsigned char*>(keys);
  const auto* v = static_cast<const unsigned char*>(values);
  for (std::int64_t j = 0; j < n_queries; ++j) {
    float* o = out + j * ldo;
    std::fill(o, o + head_dim, 0.0f);
    if (visible[j] == 0) continue;
    float largest = -INFINITY;
    for (std::int64_t p = 0; p < visible[j]; ++p) {
      float dot = 0;
      for (std::int64_t d = 0; d < head_dim; ++d)
        dot += q[j * ldq + d] * Row::value(k + p * stride, d);
      scores[p] = dot * scale;
      if (cap > 0) scores[p] = cap * std::tanh(scores[p] / cap);
      largest = std::max(largest, scores[p]);
    }
    double sum = 0;
    for (std::int64_t p = 0; p < visible[j]; ++p) {
      scores[p] = std::exp(scores[p] - largest);
      sum += static_cast<double>(scores[p]);
    }
    for (std::int64_t p = 0; p < visible[j]; ++p)
      for (std::int64_t d = 0; d < head_dim; ++d) o[d] += scores[p] * Row::value(v + p * stride, d);
    const float inverse = static_cast<float>(1.0 / sum);
    for (std::int64_t d = 0; d < head_dim; ++d) o[d] *= inverse;
  }
}

}  // namespace

void fill_kv(KvKernels* kv) {
  kv[kv_f32] = {F32::store, attention<F32>};
  kv[kv_f16] = {F16::store, attention<F16>};
  kv[kv_q8_0] = {Q8_0::store, attention<Q8_0>};
  kv[kv_q4_0] = {Q4_0::store, attention<Q4_0>};
}

}  // namespace espalier::kernels::reference
