// SPDX-License-Identifier: Apache-2.0
// Rotary embedding: `direction` 1 rotates forward, -1 back. The backward pass is the rotation back,
// because a rotation is orthogonal.
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

}  // namespace

torch::Tensor rotate(const torch::Tensor& x_BTND, const torch::Tensor& cos_TR2,
                     const torch::Tensor& sin_TR2) {
  return needs_graph({&x_BTND}) ? Rotate::apply(x_BTND, cos_TR2, sin_TR2)
                                : rotate_values(x_BTND, cos_TR2, sin_TR2, 1.0f);
}

}  // namespace espalier::model::cpu
