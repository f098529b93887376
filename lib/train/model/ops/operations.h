// SPDX-License-Identifier: Apache-2.0
// The operations of the forward pass, with their backward passes, as rows of function pointers. The
// row `reference` is plain LibTorch. It runs on any device and defines what is right. A row for one
// device starts as a copy of it and replaces what it does faster. What an operation computes is
// said here, and rows.inc lists the rows.
//
// Values are float32, the order is row-major, and every result is differentiable. Legend: B batch,
// T tokens, H hidden, V vocab, N q-heads, K kv-groups, D head_dim, R rotated values of a head.
//
// A weight may have a gradient already (leaf.grad() is defined). Then backward adds to it in place,
// so that it fills the flat buffer of a trainer.
#pragma once
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace espalier::model {

// Which keys a query attends to, and how scores become shares.
struct AttentionRule {
  double scale;             // score = scale q.k
  double softcap = 0;       // score = c tanh(score / c); 0: none
  std::int64_t window = 0;  // keys that a query sees, its own included; 0: all up to its own
};

struct Operations {
  const char* name;
  std::optional<torch::DeviceType> device;  // of its tensors; none: any

  // x / sqrt(mean(x^2) + eps) * gain, over the last dimension.
  torch::Tensor (*rms_norm)(const torch::Tensor& x, const torch::Tensor& gain, double eps);
  // (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * gain + bias, over the last dimension.
  torch::Tensor (*layer_norm)(const torch::Tensor& x, const torch::Tensor& gain,
                              const torch::Tensor& bias, double eps);
  // x . weight^T of each weight, over the last dimension. Products are computed in `dtype` (float32
  // or bfloat16). Results and gradients are float32.
  std::vector<torch::Tensor> (*linears)(const torch::Tensor& x,
                                        const std::vector<torch::Tensor>& weights,
                                        torch::ScalarType dtype);
  // silu(gate) * up
  torch::Tensor (*swiglu)(const torch::Tensor& gate, const torch::Tensor& up);
  // gelu(gate) * up, with the tanh form of gelu.
  torch::Tensor (*geglu)(const torch::Tensor& gate, const torch::Tensor& up);
  // The tanh form.
  torch::Tensor (*gelu)(const torch::Tensor& up);
  // max(up, 0)^2
  torch::Tensor (*relu_squared)(const torch::Tensor& up);
  // Rotary embedding in half-split order. Pairs (i, i + R/2) of the first R values of the last
  // dimension are rotated by the angle of their position. The other values stay.
  torch::Tensor (*rotate)(const torch::Tensor& x_BTND, const torch::Tensor& cos_TR2,
                          const torch::Tensor& sin_TR2);
  // softmax(scores of the keys that the rule allows) v, per head. Query head n reads group
  // n / (N / K). Returns BTND. With fewer queries than keys, they are of the last positions.
  torch::Tensor (*attention)(const torch::Tensor& q_BTND, const torch::Tensor& k_BTKD,
                             const torch::Tensor& v_BTKD, const AttentionRule& rule);
  // Rows of weight [V, H] by id (int64).
  torch::Tensor (*embed_rows)(const torch::Tensor& ids, const torch::Tensor& weight);
};
// Members behind the name and the device. Tests cover as many.
inline constexpr std::size_t kOperations = 10;
static_assert(sizeof(Operations) == (2 + kOperations) * sizeof(void*));

// The row for tensors on that device: its own, else the reference. ESPALIER_OPS=NAME in the
// environment, or a ForcedOperations, takes the row of that name; Error(usage) when the row is not
// for that device.
const Operations& operations(torch::Device device);
// Whether loops over the memory of the host are to compute on tensors of that device. Code beside
// the model that has such loops asks this, and has operations of LibTorch for the other case.
inline bool loops_of_host(torch::Device device) {
  return operations(device).device == torch::DeviceType::CPU;
}
// All of them, the reference first.
std::span<const Operations> operation_rows();

// Takes one row while it lives, for tests. One at a time, on the thread that made it.
class ForcedOperations {
 public:
  explicit ForcedOperations(std::string_view name);
  ~ForcedOperations();
  ForcedOperations(const ForcedOperations&) = delete;
  ForcedOperations& operator=(const ForcedOperations&) = delete;

 private:
  const Operations* before_;
};

}  // namespace espalier::model
