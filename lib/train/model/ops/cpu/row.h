// SPDX-License-Identifier: Apache-2.0
// The row of the CPU: hand-written backward passes that save little and pass over memory once. The
// loops are plain functions over raw rows, cloned per instruction set, and at::parallel_for splits
// rows or columns among threads. Results do not depend on the number of threads: sums are split by
// columns, never by threads.
//
// When a weight has a gradient already, backward adds to it without a temporary. Hence
// torch::autograd::grad with respect to a weight needs weight.grad() undefined.
#pragma once
#include <algorithm>
#include <initializer_list>

#include "model/ops/operations.h"

#if AT_PARALLEL_OPENMP && !defined(_OPENMP)
#error \
    "this LibTorch runs its loops by OpenMP: compiled without it at::parallel_for uses one thread (cmake/FindLibTorch.cmake)"
#endif

namespace espalier::model::cpu {

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& gain, double eps);
std::vector<torch::Tensor> linears(const torch::Tensor& x,
                                   const std::vector<torch::Tensor>& weights,
                                   torch::ScalarType dtype);
torch::Tensor swiglu(const torch::Tensor& gate, const torch::Tensor& up);
torch::Tensor rotate(const torch::Tensor& x_BTND, const torch::Tensor& cos_TR2,
                     const torch::Tensor& sin_TR2);
torch::Tensor attention(const torch::Tensor& q_BTND, const torch::Tensor& k_BTKD,
                        const torch::Tensor& v_BTKD, const AttentionRule& rule);
torch::Tensor embed_rows(const torch::Tensor& ids, const torch::Tensor& weight);

// Rows of `width` values, one after the other.
struct Rows {
  std::int64_t n, width;
};
// The rows of one task: about 16k values.
inline std::int64_t grain(std::int64_t width) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, width));
}
inline bool needs_graph(std::initializer_list<const torch::Tensor*> inputs) {
  if (!torch::GradMode::is_enabled()) return false;
  for (const torch::Tensor* t : inputs)
    if (t->requires_grad()) return true;
  return false;
}
inline bool accumulates_in_place(const torch::Tensor& weight) {
  return weight.is_leaf() && weight.grad().defined();
}

}  // namespace espalier::model::cpu
