// SPDX-License-Identifier: Apache-2.0
// Products with several weights. Gradients of weights are added by the product itself.
#include "model/ops/cpu/row.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "core/profile.h"
#include "model/ops/cpu/bf16_panels.h"

namespace espalier::model::cpu {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

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

}  // namespace

std::vector<torch::Tensor> linears(const torch::Tensor& x,
                                   const std::vector<torch::Tensor>& weights,
                                   torch::ScalarType dtype) {
  if (needs_graph({&x}) || std::any_of(weights.begin(), weights.end(),
                                       [](const Tensor& w) { return needs_graph({&w}); }))
    return Linears::apply(x, at::TensorList(weights), dtype);
  std::vector<Tensor> out;
  if (dtype == torch::kBFloat16 && has_amx_products()) {
    const Panels rows(x.reshape({-1, x.size(-1)}).contiguous(), Panels::Side::left);
    std::vector<std::int64_t> shape = x.sizes().vec();
    for (const Tensor& weight : weights) {
      shape.back() = weight.size(0);
      out.push_back(
          cpu::product(rows, Panels(weight.contiguous(), Panels::Side::right)).view(shape));
    }
    return out;
  }
  const Tensor rows = x.to(dtype);
  for (const Tensor& weight : weights) out.push_back(product(rows, weight, dtype));
  return out;
}

}  // namespace espalier::model::cpu
