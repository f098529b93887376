// SPDX-License-Identifier: Apache-2.0
// Rows of the embedding. The gradient is split by columns.
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

torch::Tensor embed_rows(const torch::Tensor& ids, const torch::Tensor& weight) {
  return needs_graph({&weight}) ? Embedding::apply(ids, weight) : at::embedding(weight, ids);
}

}  // namespace espalier::model::cpu
