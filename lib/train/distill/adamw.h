// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov, Hutter 2017, arXiv:1711.05101) over one flat buffer. A single pass does
// everything: scaling of the gradient, moments, decay, update, and zeroing of the gradient for the
// next step. Equals torch::optim::AdamW up to rounding.
#pragma once
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
// The buffers of one flat set of parameters.
struct AdamWState {
  float *parameters, *gradients, *first_moment, *second_moment;
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
// zero afterwards.
void adamw_step(const AdamW& options, const AdamWStep& step, std::span<const Segment> segments,
                AdamWState state);

// The Euclidean norm. It is the same for any number of threads.
double norm(const float* values, std::int64_t n);

}  // namespace espalier::distill
