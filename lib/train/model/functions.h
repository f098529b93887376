// SPDX-License-Identifier: Apache-2.0
// The operations of the forward pass. Each has a hand-written backward pass that saves little and
// passes over memory once. All run in float32 on the CPU with row-major inputs. Results do not
// depend on the number of threads: sums are split by columns, never by threads.
//
// Gradients of weights: when the weight already has a gradient (leaf.grad() is defined), backward
// adds to it in place. So a trainer's flat buffer is filled without temporaries. Otherwise the
// gradient goes to autograd as usual. Hence torch::autograd::grad with respect to a weight needs
// weight.grad() undefined.
#pragma once
#include <torch/types.h>

#include <vector>

namespace espalier::model {

// x * weight / sqrt(mean(x^2) + eps) over the last dimension.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps);
// x . weight^T over the last dimension. The product is computed in `dtype` (float32 or bfloat16).
// The result is float32.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, torch::ScalarType dtype);
// The same for several weights and the same x, which is cast once and gets one gradient.
std::vector<torch::Tensor> linears(const torch::Tensor& x,
                                   const std::vector<torch::Tensor>& weights,
                                   torch::ScalarType dtype);
// silu(gate) * up
torch::Tensor swiglu(const torch::Tensor& gate, const torch::Tensor& up);
// Rotary embedding in half-split order. Pairs (i, i + R/2) of the first R values of the last
// dimension are rotated by the angle of their position. The other values stay. R is twice the width
// of cosines and sines.
torch::Tensor rotate(const torch::Tensor& x_BTND, const torch::Tensor& cos_TR2,
                     const torch::Tensor& sin_TR2);
// Rows of weight [V, H] by id.
torch::Tensor embed_rows(const torch::Tensor& ids, const torch::Tensor& weight);

}  // namespace espalier::model
