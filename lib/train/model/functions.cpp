// SPDX-License-Identifier: Apache-2.0
// Forward and backward passes of the operations in functions.h. The loops are plain functions over
// raw rows (cloned per instruction set). at::parallel_for splits rows or columns among threads.
#include "model/functions.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/profile.h"
#include "model/vector_math.h"

#if AT_PARALLEL_OPENMP && !defined(_OPENMP)
#error \
    "this LibTorch runs its loops by OpenMP: compiled without it at::parallel_for uses one thread (cmake/FindLibTorch.cmake)"
#endif

namespace espalier::model {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

bool needs_graph(std::initializer_list<const Tensor*> inputs) {
  if (!torch::GradMode::is_enabled()) return false;
  for (const Tensor* t : inputs)
    if (t->requires_grad()) return true;
  return false;
}
// The rows of one task: about 16k values.
std::int64_t grain(std::int64_t width) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, width));
}
bool accumulates_in_place(const Tensor& weight) {
  return weight.is_leaf() && weight.grad().defined();
}

// Rows of `width` values, one after the other.
struct Rows {
  std::int64_t n, width;
};

// -- RMSNorm

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

// -- SwiGLU

ESP_VECTOR_CLONES void swiglu_values(const float* gate, const float* up, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Float8 g = load8(gate + i);
    store8(y + i, g / (1.0f + fast_exp(-g)) * load8(up + i));
  }
  for (; i < n; ++i) y[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
}
ESP_VECTOR_CLONES void swiglu_gradients(const float* gate, const float* up, const float* dy,
                                        float* dgate, float* dup, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Float8 g = load8(gate + i), s = 1.0f / (1.0f + fast_exp(-g)), d = load8(dy + i);
    store8(dgate + i, d * load8(up + i) * s * (1.0f + g * (1.0f - s)));
    store8(dup + i, d * g * s);
  }
  for (; i < n; ++i) {
    const float g = gate[i], s = 1.0f / (1.0f + fast_exp(-g)), d = dy[i];
    dgate[i] = d * up[i] * s * (1.0f + g * (1.0f - s));
    dup[i] = d * g * s;
  }
}

Tensor swiglu_forward(const Tensor& gate, const Tensor& up) {
  const Tensor g = gate.contiguous(), u = up.contiguous();
  Tensor y = torch::empty_like(g);
  const float *pg = g.const_data_ptr<float>(), *pu = u.const_data_ptr<float>();
  float* py = y.mutable_data_ptr<float>();
  at::parallel_for(0, g.numel(), 16384, [&](std::int64_t b, std::int64_t e) {
    swiglu_values(pg + b, pu + b, py + b, e - b);
  });
  return y;
}

struct SwiGlu : Function<SwiGlu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up) {
    ctx->save_for_backward({gate, up});
    return swiglu_forward(gate, up);
  }
  static tensor_list backward(AutogradContext* ctx, const tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor g = saved[0].contiguous(), u = saved[1].contiguous(),
                 dy = gradients[0].contiguous();
    Tensor dg = torch::empty_like(g), du = torch::empty_like(u);
    const float *pg = g.const_data_ptr<float>(), *pu = u.const_data_ptr<float>(),
                *pd = dy.const_data_ptr<float>();
    float *pdg = dg.mutable_data_ptr<float>(), *pdu = du.mutable_data_ptr<float>();
    at::parallel_for(0, g.numel(), 16384, [&](std::int64_t b, std::int64_t e) {
      swiglu_gradients(pg + b, pu + b, pd + b, pdg + b, pdu + b, e - b);
    });
    return {dg, du};
  }
};

// -- rotary embedding: `direction` 1 rotates forward, -1 back. The backward pass is the rotation
// back, because a rotation is orthogonal.

struct Angles {                // of one position
  const float *cosine, *sine;  // [half]
  std::int64_t half;
  float direction;
};
ESP_VECTOR_CLONES void rotate_heads(const float* x, Angles by, float* y, Rows heads) {
  const std::int64_t width = heads.width, half = by.half;
  for (std::int64_t n = 0; n < heads.n; ++n, x += width, y += width) {
    for (std::int64_t i = 2 * half; i < width; ++i) y[i] = x[i];
    for (std::int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half], c = by.cosine[i], s = by.direction * by.sine[i];
      y[i] = a * c - b * s;
      y[i + half] = b * c + a * s;
    }
  }
}

Tensor rotate_values(const Tensor& x_BTND, const Tensor& cosine, const Tensor& sine,
                     float direction) {
  const Tensor x = x_BTND.contiguous();
  Tensor y = torch::empty_like(x);
  const std::int64_t t = x.size(1), n = x.size(2), d = x.size(3), half = cosine.size(1);
  const float *px = x.const_data_ptr<float>(), *pc = cosine.const_data_ptr<float>(),
              *ps = sine.const_data_ptr<float>();
  float* py = y.mutable_data_ptr<float>();
  at::parallel_for(0, x.size(0) * t, grain(n * d), [&](std::int64_t b, std::int64_t e) {
    for (std::int64_t r = b; r < e; ++r)
      rotate_heads(px + r * n * d, {pc + r % t * half, ps + r % t * half, half, direction},
                   py + r * n * d, {n, d});
  });
  return y;
}

struct Rotate : Function<Rotate> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cosine,
                        const Tensor& sine) {
    ctx->save_for_backward({cosine, sine});
    return rotate_values(x, cosine, sine, 1.0f);
  }
  static tensor_list backward(AutogradContext* ctx, const tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    return {rotate_values(gradients[0], saved[0], saved[1], -1.0f), Tensor(), Tensor()};
  }
};

// -- linear

Tensor product(const Tensor& rows, const Tensor& weight, torch::ScalarType dtype) {
  return at::linear(rows, weight.to(dtype)).to(torch::kFloat32);
}

// sum += a b. An undefined sum counts as zero. The sum is float32, and the factors have one type.
void add_product(Tensor& sum, const Tensor& a, const Tensor& b) {
  core::count_operations(2.0 * static_cast<double>(a.numel()) * static_cast<double>(b.size(1)));
  if (!sum.defined()) {
    sum = a.mm(b).to(torch::kFloat32);
  } else if (a.scalar_type() == torch::kFloat32) {
    sum.addmm_(a, b);
  } else {
    sum.add_(a.mm(b));
  }
}

// Several matrices applied to the same rows: the rows are cast once and get one gradient.
struct Linears : Function<Linears> {
  static tensor_list forward(AutogradContext* ctx, const Tensor& x, at::TensorList weights,
                             torch::ScalarType dtype) {
    ctx->set_materialize_grads(false);
    const Tensor rows = x.to(dtype);
    tensor_list saved = {rows}, out;
    saved.insert(saved.end(), weights.begin(), weights.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["dtype"] = static_cast<std::int64_t>(dtype);
    for (const Tensor& weight : weights) out.push_back(product(rows, weight, dtype));
    return out;
  }
  static tensor_list backward(AutogradContext* ctx, const tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto dtype = static_cast<torch::ScalarType>(ctx->saved_data["dtype"].toInt());
    const Tensor rows = saved[0].reshape({-1, saved[0].size(-1)});
    Tensor dx;
    tensor_list dw;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const Tensor& weight = saved[i + 1];
      dw.emplace_back();
      if (!gradients[i].defined()) continue;
      const Tensor dy = gradients[i].reshape({-1, weight.size(0)}).to(dtype);
      if (ctx->needs_input_grad(0)) add_product(dx, dy, weight.to(dtype));
      if (!ctx->needs_input_grad(i + 1)) continue;
      Tensor sum = accumulates_in_place(weight) ? weight.grad() : Tensor();
      add_product(sum, dy.t(), rows);
      if (!accumulates_in_place(weight)) dw.back() = sum;
    }
    tensor_list out = {dx.defined() ? dx.view(saved[0].sizes()) : dx};
    out.insert(out.end(), dw.begin(), dw.end());
    out.emplace_back();
    return out;
  }
};

// -- embedding

ESP_VECTOR_CLONES void scatter_columns(const std::int64_t* ids, const float* dy, float* dw,
                                       std::int64_t n, std::int64_t h, std::int64_t columns) {
  for (std::int64_t r = 0; r < n; ++r) {
    float* row = dw + ids[r] * h;
    const float* source = dy + r * h;
    for (std::int64_t j = 0; j < columns; ++j) row[j] += source[j];
  }
}

struct Embedding : Function<Embedding> {
  static Tensor forward(AutogradContext* ctx, const Tensor& ids, const Tensor& weight) {
    ctx->save_for_backward({ids, weight});
    return at::embedding(weight, ids);
  }
  // Adds tokens in order within each column. So an id that occurs twice is summed in the same order
  // for any number of threads.
  static tensor_list backward(AutogradContext* ctx, const tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor ids = saved[0].contiguous(), dy = gradients[0].contiguous();
    const Tensor& weight = saved[1];
    const bool in_place = accumulates_in_place(weight) && weight.grad().is_contiguous();
    Tensor dw = in_place ? weight.grad() : torch::zeros_like(weight);
    const std::int64_t h = weight.size(1), n = ids.numel();
    const std::int64_t* pid = ids.const_data_ptr<std::int64_t>();
    const float* pdy = dy.const_data_ptr<float>();
    float* pdw = dw.mutable_data_ptr<float>();
    at::parallel_for(0, h, 64, [&](std::int64_t b, std::int64_t e) {
      scatter_columns(pid, pdy + b, pdw + b, n, h, e - b);
    });
    return {Tensor(), in_place ? Tensor() : dw};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  return needs_graph({&x, &weight}) ? RmsNorm::apply(x, weight, eps)
                                    : rms_forward(x, weight, eps).y;
}
std::vector<Tensor> linears(const Tensor& x, const std::vector<Tensor>& weights,
                            torch::ScalarType dtype) {
  for (const Tensor& weight : weights)
    core::count_operations(2.0 * static_cast<double>(x.numel()) *
                           static_cast<double>(weight.size(0)));
  if (needs_graph({&x}) || std::any_of(weights.begin(), weights.end(),
                                       [](const Tensor& w) { return needs_graph({&w}); }))
    return Linears::apply(x, at::TensorList(weights), dtype);
  std::vector<Tensor> out;
  const Tensor rows = x.to(dtype);
  for (const Tensor& weight : weights) out.push_back(product(rows, weight, dtype));
  return out;
}
Tensor linear(const Tensor& x, const Tensor& weight, torch::ScalarType dtype) {
  return linears(x, {weight}, dtype)[0];
}
Tensor swiglu(const Tensor& gate, const Tensor& up) {
  return needs_graph({&gate, &up}) ? SwiGlu::apply(gate, up) : swiglu_forward(gate, up);
}
Tensor rotate(const Tensor& x_BTND, const Tensor& cos_TR2, const Tensor& sin_TR2) {
  return needs_graph({&x_BTND}) ? Rotate::apply(x_BTND, cos_TR2, sin_TR2)
                                : rotate_values(x_BTND, cos_TR2, sin_TR2, 1.0f);
}
Tensor embed_rows(const Tensor& ids, const Tensor& weight) {
  return needs_graph({&weight}) ? Embedding::apply(ids, weight) : at::embedding(weight, ids);
}

}  // namespace espalier::model
