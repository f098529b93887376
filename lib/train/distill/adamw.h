// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov, Hutter 2017, arXiv:1711.05101) over one flat buffer, all in one step: scaling
// of the gradient, moments, decay, update, and zeroing of the gradient for the next step. Equals
// torch::optim::AdamW up to rounding.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <span>

namespace espalier::distill {

struct AdamW {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
};
// A run of consecutive parameters with the same weight decay.
struct Segment {
  std::int64_t begin, size;
  double weight_decay;
};
// The buffers of one flat set of parameters: float32, one after the other, on one device.
struct AdamWState {
  torch::Tensor parameters, gradients, first_moment, second_moment;
};
struct AdamWStep {
  std::int64_t number;  // counts from 1
  double rate, gradient_scale;
};
// One optimizer step:
//
//   p -= rate * weight_decay * p
//   m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2
//   p -= rate * m' / (sqrt(v') + epsilon)
//
// g = gradient_scale * gradient. m' and v' are corrected for their start at zero. Gradients are
// zero afterwards. One pass over memory does it on the CPU, and operations of LibTorch elsewhere
// (model/ops/operations.h).
void adamw_step(const AdamW& options, const AdamWStep& step, std::span<const Segment> segments,
                const AdamWState& state);

// The Euclidean norm of a vector. On the CPU it is the same for any number of threads.
double euclidean_norm(const torch::Tensor& values);

}  // namespace espalier::distill
