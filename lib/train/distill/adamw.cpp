// SPDX-License-Identifier: Apache-2.0
// The AdamW pass and the norm: as vector loops, and as operations of LibTorch for other devices.
#include "distill/adamw.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/ops/operations.h"
#include "model/vector_math.h"

namespace espalier::distill {
namespace {

using model::kLanes;
using model::sum_lanes;
using torch::Tensor;

struct Constants {
  float keep;  // 1 - rate * weight_decay
  // root: 1 / sqrt(1 - beta2^step). rate: corrected by 1 - beta1^step.
  float scale, beta1, beta2, rate, root, epsilon;
};

ESP_VECTOR_CLONES void update(const Constants& c, float* __restrict p, float* __restrict g,
                              float* __restrict m, float* __restrict v, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] * c.scale;
    const float first = c.beta1 * m[i] + (1.0f - c.beta1) * gradient;
    const float second = c.beta2 * v[i] + (1.0f - c.beta2) * gradient * gradient;
    m[i] = first;
    v[i] = second;
    p[i] = p[i] * c.keep - c.rate * first / (std::sqrt(second) * c.root + c.epsilon);
    g[i] = 0.0f;
  }
}

ESP_VECTOR_CLONES double sum_of_squares(const float* x, std::int64_t n) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += 1024) {
    const std::int64_t end = std::min<std::int64_t>(begin + 1024, n);
    float lanes[kLanes] = {};
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += x[i + j] * x[i + j];
    for (; i < end; ++i) lanes[0] += x[i] * x[i];
    total += static_cast<double>(sum_lanes(lanes));
  }
  return total;
}

void update(const Constants& c, Tensor p, Tensor g, Tensor m, Tensor v) {
  g.mul_(c.scale);
  m.mul_(c.beta1).add_(g, 1.0f - c.beta1);
  v.mul_(c.beta2).addcmul_(g, g, 1.0f - c.beta2);
  p.mul_(c.keep).addcdiv_(m, v.sqrt().mul_(c.root).add_(c.epsilon), -c.rate);
  g.zero_();
}

void update_on_host(const Constants& c, const Segment& s, const AdamWState& state) {
  float *p = state.parameters.mutable_data_ptr<float>(),
        *g = state.gradients.mutable_data_ptr<float>(),
        *m = state.first_moment.mutable_data_ptr<float>(),
        *v = state.second_moment.mutable_data_ptr<float>();
  at::parallel_for(0, s.size, 1 << 16, [&](std::int64_t b, std::int64_t e) {
    const std::int64_t at = s.begin + b;
    update(c, p + at, g + at, m + at, v + at, e - b);
  });
}

}  // namespace

void adamw_step(const AdamW& o, const AdamWStep& step, std::span<const Segment> segments,
                const AdamWState& state) {
  const torch::NoGradGuard no_grad;
  const auto f = [](double x) { return static_cast<float>(x); };
  const double t = static_cast<double>(step.number), rate = step.rate;
  for (const Segment& s : segments) {
    const Constants c{f(1 - rate * s.weight_decay),
                      f(step.gradient_scale),
                      f(o.beta1),
                      f(o.beta2),
                      f(rate / (1 - std::pow(o.beta1, t))),
                      f(1 / std::sqrt(1 - std::pow(o.beta2, t))),
                      f(o.epsilon)};
    if (model::loops_of_host(state.parameters.device())) {
      update_on_host(c, s, state);
    } else {
      const auto part = [&](const Tensor& flat) { return flat.narrow(0, s.begin, s.size); };
      update(c, part(state.parameters), part(state.gradients), part(state.first_moment),
             part(state.second_moment));
    }
  }
}

double euclidean_norm(const Tensor& tensor) {
  if (!model::loops_of_host(tensor.device()))
    return at::linalg_vector_norm(tensor, 2, std::nullopt, false, torch::kFloat64).item<double>();
  const float* values = tensor.const_data_ptr<float>();
  const std::int64_t n = tensor.numel();
  constexpr std::int64_t kPiece = 1 << 16;
  std::vector<double> pieces(static_cast<std::size_t>((n + kPiece - 1) / kPiece));
  at::parallel_for(0, static_cast<std::int64_t>(pieces.size()), 1,
                   [&](std::int64_t b, std::int64_t e) {
                     for (std::int64_t i = b; i < e; ++i)
                       pieces[static_cast<std::size_t>(i)] =
                           sum_of_squares(values + i * kPiece, std::min(kPiece, n - i * kPiece));
                   });
  double total = 0;
  for (const double piece : pieces) total += piece;
  return std::sqrt(total);
}

}  // namespace espalier::distill
