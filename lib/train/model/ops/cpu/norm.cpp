// SPDX-License-Identifier: Apache-2.0
// RMSNorm by rows, and its gradient by rows and by columns.
#include "model/ops/cpu/row.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "model/vector_math.h"

namespace espalier::model::cpu {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

ESP_VECTOR_CLONES void rms_rows(const float* x, const float* w, float* y, float* inverse, Rows rows,
                                float eps) {
  const std::int64_t h = rows.width;
  for (std::int64_t r = 0; r < rows.n; ++r, x += h, y += h) {
    float lanes[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= h; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += x[i + j] * x[i + j];
    for (; i < h; ++i) lanes[0] += x[i] * x[i];
    const float scale = 1.0f / std::sqrt(sum_lanes(lanes) / static_cast<float>(h) + eps);
    inverse[r] = scale;
    for (std::int64_t j = 0; j < h; ++j) y[j] = x[j] * scale * w[j];
  }
}
// dx = s * (w * dy) - x * s^3 / h * sum(w * dy * x)
ESP_VECTOR_CLONES void rms_rows_backward(const float* x, const float* w, const float* dy,
                                         const float* inverse, float* dx, Rows rows) {
  const std::int64_t h = rows.width;
  for (std::int64_t r = 0; r < rows.n; ++r, x += h, dy += h, dx += h) {
    float lanes[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= h; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += x[i + j] * dy[i + j] * w[i + j];
    for (; i < h; ++i) lanes[0] += x[i] * dy[i] * w[i];
    const float s = inverse[r], c = s * s * s / static_cast<float>(h) * sum_lanes(lanes);
    for (std::int64_t j = 0; j < h; ++j) dx[j] = s * w[j] * dy[j] - c * x[j];
  }
}
// dw[columns] = sum over rows of dy * x * s
ESP_VECTOR_CLONES void rms_columns_backward(const float* x, const float* dy, const float* inverse,
                                            float* dw, Rows rows, std::int64_t columns) {
  for (std::int64_t r = 0; r < rows.n; ++r, x += rows.width, dy += rows.width) {
    const float s = inverse[r];
    for (std::int64_t j = 0; j < columns; ++j) dw[j] += dy[j] * x[j] * s;
  }
}

struct NormResult {
  Tensor y, inverse;
};
NormResult rms_forward(const Tensor& x, const Tensor& weight, double eps) {
  const Tensor xc = x.contiguous(), wc = weight.contiguous();
  const std::int64_t h = x.size(-1), rows = h == 0 ? 0 : x.numel() / h;
  NormResult out{torch::empty_like(xc), torch::empty({rows}, xc.options())};
  const float *px = xc.const_data_ptr<float>(), *pw = wc.const_data_ptr<float>();
  float *py = out.y.mutable_data_ptr<float>(), *pi = out.inverse.mutable_data_ptr<float>();
  at::parallel_for(0, rows, grain(h), [&](std::int64_t b, std::int64_t e) {
    rms_rows(px + b * h, pw, py + b * h, pi + b, {e - b, h}, static_cast<float>(eps));
  });
  return out;
}

struct RmsNorm : Function<RmsNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, double eps) {
    NormResult out = rms_forward(x, weight, eps);
    ctx->save_for_backward({x, weight, out.inverse});
    return out.y;
  }
  static tensor_list backward(AutogradContext* ctx, const tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor x = saved[0].contiguous(), weight = saved[1].contiguous(),
                 dy = gradients[0].contiguous();
    const std::int64_t h = x.size(-1), rows = h == 0 ? 0 : x.numel() / h;
    const float *px = x.const_data_ptr<float>(), *pdy = dy.const_data_ptr<float>(),
                *ps = saved[2].const_data_ptr<float>();
    Tensor dx, dw;
    if (ctx->needs_input_grad(0)) {
      dx = torch::empty_like(x);
      const float* pw = weight.const_data_ptr<float>();
      float* pdx = dx.mutable_data_ptr<float>();
      at::parallel_for(0, rows, grain(h), [&](std::int64_t b, std::int64_t e) {
        rms_rows_backward(px + b * h, pw, pdy + b * h, ps + b, pdx + b * h, {e - b, h});
      });
    }
    if (ctx->needs_input_grad(1)) {
      const bool in_place = accumulates_in_place(saved[1]) && saved[1].grad().is_contiguous();
      Tensor sum = in_place ? saved[1].grad() : torch::zeros_like(weight);
      float* pdw = sum.mutable_data_ptr<float>();
      at::parallel_for(0, h, 64, [&](std::int64_t b, std::int64_t e) {
        rms_columns_backward(px + b, pdy + b, ps, pdw + b, {rows, h}, e - b);
      });
      if (!in_place) dw = sum;
    }
    return {dx, dw, Tensor()};
  }
};

}  // namespace

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& gain, double eps) {
  return needs_graph({&x, &gain}) ? RmsNorm::apply(x, gain, eps) : rms_forward(x, gain, eps).y;
}

}  // namespace espalier::model::cpu
