// SPDX-License-Identifier: Apache-2.0
// The operations as formulas, differentiated by LibTorch. Speed and memory are no goal. Only
// functions of LibTorch that have a C++ form on the device `meta` are used, because
// device_memory.h counts on it: index for embedding, threshold for relu, means for layer_norm.
#include "model/ops/reference.h"

#include <limits>

namespace espalier::model::reference {

using torch::Tensor;

namespace {

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  return x * torch::rsqrt(x.square().mean(-1, true) + eps) * gain;
}

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps) {
  const Tensor centred = x - x.mean(-1, true);
  return centred * torch::rsqrt(centred.square().mean(-1, true) + eps) * gain + bias;
}

// x is cast for each product, so that its gradients are added up in float32.
std::vector<Tensor> linears(const Tensor& x, const std::vector<Tensor>& weights,
                            torch::ScalarType dtype) {
  std::vector<Tensor> out;
  for (const Tensor& weight : weights)
    out.push_back(at::linear(x.to(dtype), weight.to(dtype)).to(torch::kFloat32));
  return out;
}

Tensor swiglu(const Tensor& gate, const Tensor& up) { return torch::silu(gate) * up; }
Tensor geglu(const Tensor& gate, const Tensor& up) { return torch::gelu(gate, "tanh") * up; }
Tensor gelu(const Tensor& up) { return torch::gelu(up, "tanh"); }
Tensor relu_squared(const Tensor& up) { return torch::threshold(up, 0, 0).square(); }

Tensor rotate(const Tensor& x_BTND, const Tensor& cos_TR2, const Tensor& sin_TR2) {
  const std::int64_t half = cos_TR2.size(1), rest = x_BTND.size(3) - 2 * half;
  const Tensor a = x_BTND.narrow(3, 0, half), b = x_BTND.narrow(3, half, half),
               c = cos_TR2.unsqueeze(1), s = sin_TR2.unsqueeze(1);
  return torch::cat({a * c - b * s, b * c + a * s, x_BTND.narrow(3, 2 * half, rest)}, 3);
}

Tensor embed_rows(const Tensor& ids, const Tensor& weight) { return weight.index({ids}); }

}  // namespace

// Scores of all pairs of positions at once.
Tensor attention(const Tensor& q_BTND, const Tensor& k_BTKD, const Tensor& v_BTKD,
                 const AttentionRule& rule) {
  const std::int64_t T = k_BTKD.size(1), heads_of_group = q_BTND.size(2) / k_BTKD.size(2);
  const auto heads_first = [&](const Tensor& x) {
    return x.repeat_interleave(heads_of_group, 2).transpose(1, 2);
  };
  Tensor scores =
      torch::matmul(q_BTND.transpose(1, 2), heads_first(k_BTKD).transpose(2, 3)) * rule.scale;
  if (rule.softcap > 0) scores = torch::tanh(scores / rule.softcap) * rule.softcap;
  const Tensor position =
      torch::arange(T, torch::TensorOptions(torch::kInt64).device(q_BTND.device()));
  const Tensor of_queries = position.narrow(0, T - q_BTND.size(1), q_BTND.size(1)),
               distance = of_queries.unsqueeze(1) - position.unsqueeze(0);
  const Tensor hidden =
      rule.window > 0 ? (distance < 0).bitwise_or(distance >= rule.window) : distance < 0;
  const Tensor shares =
      torch::softmax(scores.masked_fill(hidden, -std::numeric_limits<float>::infinity()), -1);
  return torch::matmul(shares, heads_first(v_BTKD)).transpose(1, 2);
}

void fill(Operations& row) {
  row = {.name = "reference",
         .device = std::nullopt,
         .rms_norm = rms_norm,
         .layer_norm = layer_norm,
         .linears = linears,
         .swiglu = swiglu,
         .geglu = geglu,
         .gelu = gelu,
         .relu_squared = relu_squared,
         .rotate = rotate,
         .attention = attention,
         .embed_rows = embed_rows};
}

}  // namespace espalier::model::reference
