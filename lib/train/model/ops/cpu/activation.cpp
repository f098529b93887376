// SPDX-License-Identifier: Apache-2.0
// SwiGLU in one pass over memory, forward and backward.
#include "model/ops/cpu/row.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/vector_math.h"

namespace espalier::model::cpu {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

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

}  // namespace

torch::Tensor swiglu(const torch::Tensor& gate, const torch::Tensor& up) {
  return needs_graph({&gate, &up}) ? SwiGlu::apply(gate, up) : swiglu_forward(gate, up);
}

}  // namespace espalier::model::cpu
