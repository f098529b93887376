// SPDX-License-Identifier: Apache-2.0
// Element-wise and attention steps of a decoder, as function pointers of one ISA. Plain data only:
// ISA objects include this header. Every step runs on one thread on its slice. Callers split rows,
// heads or tokens.
#pragma once
#include <cstdint>

namespace espalier::kernels {

// How the key or value of one head and position is stored: as numbers, or in blocks of 32 like
// GGUF's Q8_0 and Q4_0.
enum KvFormat : std::uint8_t { kv_f32, kv_f16, kv_q8_0, kv_q4_0, kKvFormats };

// Query vectors q[n][head_dim] that share one KV head, and room for out[n][head_dim]. Rows are ldq
// and ldo floats apart.
struct AttentionQueries {
  const float* q;
  std::int64_t ldq;
  std::int64_t n;
  const std::int64_t* visible;  // query j sees the cached positions [0, visible[j])
  float scale, cap;
  float* scores;  // scratch of n * max(visible) floats
  float* out;
  std::int64_t ldo;
};

// Cached positions of one KV head. Rows of K and V are `stride` bytes apart.
struct KvCached {
  const void* k;
  const void* v;
  std::int64_t stride, head_dim;
};

struct KvKernels {
  // x[n] -> the bytes of one row. n is a multiple of the block.
  void (*store)(const float* x, std::int64_t n, void* out);
  // out = softmax(q k^T * scale) v. With cap > 0 the scaled scores go through cap tanh(. / cap)
  // first. Fastest with 16 queries.
  void (*attention)(const AttentionQueries& queries, const KvCached& cached);
};

struct StepKernels {
  // out = x / sqrt(mean(x^2) + eps) * gain
  void (*rms_norm)(const float* x, const float* gain, float eps, std::int64_t n, float* out);
  // out = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * gain + bias
  void (*layer_norm)(const float* x, const float* gain, const float* bias, float eps,
                     std::int64_t n, float* out);
  // Rotates pairs of one head in place: interleaved (x[2i], x[2i+1]), by angles with cosines c[i]
  // and sines s[i], i < n/2.
  void (*rope_interleaved)(float* x, const float* c, const float* s, std::int64_t n);
  // The same for pairs half a head apart: (x[i], x[i + n / 2]).
  void (*rope_half_split)(float* x, const float* c, const float* s, std::int64_t n);
  // out[i] = silu(gate[i]) * up[i]
  void (*silu_mul)(const float* gate, const float* up, std::int64_t n, float* out);
  // out[i] = gelu(gate[i]) * up[i], gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  // (Hendrycks, Gimpel 2016, arXiv 1606.08415)
  void (*gelu_mul)(const float* gate, const float* up, std::int64_t n, float* out);
  // gelu: the same function of x[i] in place, without a factor. relu_squared: max(x[i], 0)^2.
  void (*gelu)(std::int64_t n, float* inout);
  void (*relu_squared)(std::int64_t n, float* inout);
  // x[i] = cap tanh(scale x[i] / cap)
  void (*soft_cap)(float* x, float scale, float cap, std::int64_t n);
  void (*add)(const float* x, std::int64_t n, float* inout);
  KvKernels kv[kKvFormats];  // indexed by KvFormat
};

}  // namespace espalier::kernels
