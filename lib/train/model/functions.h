// SPDX-License-Identifier: Apache-2.0
// The operations of the forward pass, each with a hand-written backward that saves little and
// passes over memory once. float32, on the CPU, row-major inputs. Results do not depend on the
// number of threads (sums are split by columns, never by threads). Gradients of weights: when the
// weight already has a gradient (leaf.grad() defined) backward adds to it in place, so that a
// trainer's flat buffer is filled without temporaries; otherwise it is handed to autograd as usual.
// Hence torch::autograd::grad with respect to a weight needs weight.grad() undefined.
#pragma once
#include <torch/types.h>

#include <vector>

namespace espalier::model {

// x * weight / sqrt(mean(x^2) + eps) over the last dimension.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps);
// x . weight^T over the last dimension; the product is computed in `dtype` (float32 or bfloat16),
// the result is float32.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, torch::ScalarType dtype);
// The same for several weights and the same x, which is cast once and gets one gradient.
std::vector<torch::Tensor> linears(const torch::Tensor& x,
                                   const std::vector<torch::Tensor>& weights,
                                   torch::ScalarType dtype);
// silu(gate) * up
torch::Tensor swiglu(const torch::Tensor& gate, const torch::Tensor& up);
// Rotary embedding in half-split order: pairs (i, i + R/2) of the first R values of the last
// dimension turned by the angle of their position, the others left alone. R is twice the width of
// cosines and sines.
torch::Tensor rotate(const torch::Tensor& x_BTND, const torch::Tensor& cos_TR2,
                     const torch::Tensor& sin_TR2);
// Rows of weight [V, H] by id.
torch::Tensor embed_rows(const torch::Tensor& ids, const torch::Tensor& weight);

}  // namespace espalier::model
