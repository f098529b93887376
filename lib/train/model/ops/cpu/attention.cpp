// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention in float32, with its backward pass, on the BLAS of LibTorch.
// Scores exist for one block of queries of one head at a time, in a buffer that stays in the
// second-level cache. The backward pass recomputes them from q, k and one number per row.
//
// Dao, Fu, Ermon, Rudra, Re 2022, arXiv:2205.14135, without the tiling over keys, which short
// windows do not need.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/ops/cpu/row.h"
#include "model/ops/reference.h"
#include "model/vector_math.h"

// The BLAS that LibTorch contains. at::mm adds a dispatch that costs as much as a block's product
// for short windows.
extern "C" void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace espalier::model::cpu {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

struct Matrix {
  const float* data;
  std::int64_t stride;
  bool transposed = false;
};
struct Product {
  float* data;
  std::int64_t stride;
};
struct Shape {
  std::int64_t m, n, k;
};
// Row-major c[m, n] = alpha * a[m, k] b[k, n] + beta * c.
void multiply(Shape of, float alpha, Matrix a, Matrix b, float beta, Product c) {
  const auto i = [](std::int64_t x) { return static_cast<int>(x); };
  const int rows = i(of.n), columns = i(of.m), inner = i(of.k), lda = i(b.stride),
            ldb = i(a.stride), ldc = i(c.stride);  // column-major: the transpose
  sgemm_(b.transposed ? "T" : "N", a.transposed ? "T" : "N", &rows, &columns, &inner, &alpha,
         b.data, &lda, a.data, &ldb, &beta, c.data, &ldc);
}

struct Sizes {
  std::int64_t B, T, N, K, D;
  std::int64_t q_stride() const { return N * D; }
  std::int64_t k_stride() const { return K * D; }
  std::int64_t block() const {
    return std::clamp<std::int64_t>(65536 / T, 16, 128);
  }  // number of queries: scores take 256 kB
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(D)); }
};
Sizes sizes_of(const Tensor& q, const Tensor& k) {
  return {q.size(0), q.size(1), q.size(2), k.size(2), q.size(3)};
}

// Row r of `scores` holds first + r + 1 valid values, followed by zeros. Turns scores into
// probabilities and keeps the log of each sum.
ESP_VECTOR_CLONES void softmax_rows(float* scores, float* log_sum, std::int64_t rows,
                                    std::int64_t first, std::int64_t width) {
  for (std::int64_t r = 0; r < rows; ++r, scores += width) {
    const std::int64_t n = first + r + 1;
    Float8 tops = Float8{} + scores[0];
    std::int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      const Float8 v = load8(scores + i);
      tops = v > tops ? v : tops;
    }
    float top = scores[0];
    for (int j = 0; j < kWidth; ++j) top = std::max(top, tops[j]);
    for (; i < n; ++i) top = std::max(top, scores[i]);
    Float8 sums = {};
    float sum = 0;
    for (i = 0; i + kWidth <= n; i += kWidth) {
      const Float8 e = fast_exp(load8(scores + i) - top);
      sums += e;
      store8(scores + i, e);
    }
    for (; i < n; ++i) sum += scores[i] = fast_exp(scores[i] - top);
    sum += sum8(sums);
    const float inverse = 1.0f / sum;
    for (i = 0; i < n; ++i) scores[i] *= inverse;
    std::fill(scores + n, scores + width, 0.0f);
    log_sum[r] = top + std::log(sum);
  }
}
// Turns scores and the kept logs into probabilities.
ESP_VECTOR_CLONES void restore_rows(float* scores, const float* log_sum, std::int64_t rows,
                                    std::int64_t first, std::int64_t width) {
  for (std::int64_t r = 0; r < rows; ++r, scores += width) {
    const std::int64_t n = first + r + 1;
    const float log = log_sum[r];
    std::int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) store8(scores + i, fast_exp(load8(scores + i) - log));
    for (; i < n; ++i) scores[i] = fast_exp(scores[i] - log);
    std::fill(scores + n, scores + width, 0.0f);
  }
}
// Rows of one head: what attention gave, and its gradient.
struct HeadRows {
  const float *out, *upstream;  // [rows, depth], `stride` apart
  std::int64_t stride, depth;
};
// gradient = probability * (gradient - sum_d upstream * out) * scale
ESP_VECTOR_CLONES void score_gradients(float* gradient, const float* probability, HeadRows head,
                                       std::int64_t rows, std::int64_t width, float scale) {
  const float *out = head.out, *upstream = head.upstream;
  for (std::int64_t r = 0; r < rows;
       ++r, gradient += width, probability += width, upstream += head.stride, out += head.stride) {
    float delta = 0;
    for (std::int64_t d = 0; d < head.depth; ++d) delta += upstream[d] * out[d];
    for (std::int64_t i = 0; i < width; ++i)
      gradient[i] = probability[i] * (gradient[i] - delta) * scale;
  }
}

struct Attended {
  Tensor out_BTND, log_sum_BNT;
};

Attended forward_values(const Tensor& q, const Tensor& k, const Tensor& v) {
  const Sizes s = sizes_of(q, k);
  Attended result{torch::empty_like(q), torch::empty({s.B, s.N, s.T}, q.options())};
  const float *pq = q.const_data_ptr<float>(), *pk = k.const_data_ptr<float>(),
              *pv = v.const_data_ptr<float>();
  float *po = result.out_BTND.mutable_data_ptr<float>(),
        *pl = result.log_sum_BNT.mutable_data_ptr<float>();
  at::parallel_for(0, s.B * s.N, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scores(static_cast<std::size_t>(s.block() * s.T));
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t b = task / s.N, n = task % s.N, g = n / (s.N / s.K);
      const float *qh = pq + b * s.T * s.q_stride() + n * s.D,
                  *kh = pk + b * s.T * s.k_stride() + g * s.D,
                  *vh = pv + b * s.T * s.k_stride() + g * s.D;
      float* oh = po + b * s.T * s.q_stride() + n * s.D;
      for (std::int64_t first = 0; first < s.T; first += s.block()) {
        const std::int64_t rows = std::min(s.block(), s.T - first), width = first + rows;
        multiply({rows, width, s.D}, s.scale(), {qh + first * s.q_stride(), s.q_stride()},
                 {kh, s.k_stride(), true}, 0, {scores.data(), width});
        softmax_rows(scores.data(), pl + task * s.T + first, rows, first, width);
        multiply({rows, s.D, width}, 1, {scores.data(), width}, {vh, s.k_stride()}, 0,
                 {oh + first * s.q_stride(), s.q_stride()});
      }
    }
  });
  return result;
}

// A task is one group. Its query heads add to the same dk and dv one after the other.
tensor_list backward_values(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                            const Tensor& log_sum, const Tensor& upstream) {
  const Sizes s = sizes_of(q, k);
  Tensor dq = torch::empty_like(q), dk = torch::zeros_like(k), dv = torch::zeros_like(v);
  const float *pq = q.const_data_ptr<float>(), *pk = k.const_data_ptr<float>(),
              *pv = v.const_data_ptr<float>(), *po = out.const_data_ptr<float>(),
              *pl = log_sum.const_data_ptr<float>(), *pu = upstream.const_data_ptr<float>();
  float *pdq = dq.mutable_data_ptr<float>(), *pdk = dk.mutable_data_ptr<float>(),
        *pdv = dv.mutable_data_ptr<float>();
  at::parallel_for(0, s.B * s.K, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> probability(static_cast<std::size_t>(s.block() * s.T)),
        gradient(probability.size());
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t b = task / s.K, g = task % s.K, heads = s.N / s.K,
                         group = b * s.T * s.k_stride() + g * s.D;
      const Matrix keys{pk + group, s.k_stride()}, keys_t{pk + group, s.k_stride(), true},
          values_t{pv + group, s.k_stride(), true};
      for (std::int64_t n = g * heads; n < (g + 1) * heads; ++n)
        for (std::int64_t first = 0; first < s.T; first += s.block()) {
          const std::int64_t rows = std::min(s.block(), s.T - first), width = first + rows,
                             at = (b * s.T + first) * s.q_stride() + n * s.D;
          const Matrix queries{pq + at, s.q_stride()}, up{pu + at, s.q_stride()};
          multiply({rows, width, s.D}, s.scale(), queries, keys_t, 0, {probability.data(), width});
          restore_rows(probability.data(), pl + (b * s.N + n) * s.T + first, rows, first, width);
          multiply({width, s.D, rows}, 1, {probability.data(), width, true}, up, 1,
                   {pdv + group, s.k_stride()});
          multiply({rows, width, s.D}, 1, up, values_t, 0, {gradient.data(), width});
          score_gradients(gradient.data(), probability.data(),
                          {po + at, pu + at, s.q_stride(), s.D}, rows, width, s.scale());
          multiply({rows, s.D, width}, 1, {gradient.data(), width}, keys, 0,
                   {pdq + at, s.q_stride()});
          multiply({width, s.D, rows}, 1, {gradient.data(), width, true}, queries, 1,
                   {pdk + group, s.k_stride()});
        }
    }
  });
  return {dq, dk, dv};
}

struct Attention : Function<Attention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v) {
    Attended result = forward_values(q, k, v);
    ctx->save_for_backward({q, k, v, result.out_BTND, result.log_sum_BNT});
    return result.out_BTND;
  }
  static tensor_list backward(AutogradContext* ctx, const tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    return backward_values(saved[0], saved[1], saved[2], saved[3], saved[4],
                           gradients[0].contiguous());
  }
};

}  // namespace

// Soft-caps, and windows shorter than the text, are left to explicit scores. (On processors with
// bfloat16 too, the products stay in float32: LibTorch's casts take longer than the products save.)
Tensor attention(const Tensor& q_BTND, const Tensor& k_BTKD, const Tensor& v_BTKD,
                 const AttentionRule& rule) {
  const std::int64_t T = k_BTKD.size(1);
  if (rule.softcap > 0 || (rule.window > 0 && rule.window < T) || q_BTND.size(1) != T)
    return reference::attention(q_BTND, k_BTKD, v_BTKD, rule);
  const double usual = 1 / std::sqrt(static_cast<double>(q_BTND.size(3)));
  const Tensor q = (rule.scale == usual ? q_BTND : q_BTND * (rule.scale / usual)).contiguous(),
               k = k_BTKD.contiguous(), v = v_BTKD.contiguous();
  return needs_graph({&q, &k, &v}) ? Attention::apply(q, k, v) : forward_values(q, k, v).out_BTND;
}

}  // namespace espalier::model::cpu
