// SPDX-License-Identifier: Apache-2.0
// Calls what the stages call.
#include "timing/sums.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "layerwise/gram.h"
#include "layerwise/normal_equations.h"
#include "timing/sample.h"

namespace espalier::timing {
namespace {

using torch::Tensor;

constexpr std::int64_t kFewChannels = 128;

std::string shape(const char* kind, std::int64_t n, std::int64_t m) {
  return std::string(kind) + " " + std::to_string(n) + " x " + std::to_string(m);
}
std::string at_a_time(const Text& text) {
  return ", " + std::to_string(text.batch_tokens) + " tokens at a time" +
         (text.bf16 ? ", in bfloat16" : "");
}

torch::ScalarType dtype_of(const Text& text) {
  return text.bf16 ? torch::kBFloat16 : torch::kFloat32;
}

}  // namespace

Item equations(std::int64_t n, std::int64_t m, const Text& text) {
  const double operations = real(n) * real(n + 1) + 2 * real(n) * real(m);
  return {"sums", shape("equations", n, m) + at_a_time(text), operations * real(text.tokens), 40e9,
          [=](double seconds) {
            const torch::InferenceMode inference;
            layerwise::NormalEquations sums;
            return operations *
                   speed(seconds, kFewTokens, text.batch_tokens, [&](std::int64_t tokens) {
                     return [&, a = torch::randn({tokens, n}), t = torch::randn({tokens, m})] {
                       sums.add(a, t * layerwise::inverse_rms(t), dtype_of(text));
                     };
                   });
          }};
}

Item gram(std::int64_t n, const Text& text) {
  const double operations = real(n) * real(n + 1);
  return {"sums", "gram " + std::to_string(n) + at_a_time(text), operations * real(text.tokens),
          40e9, [=](double seconds) {
            const torch::InferenceMode inference;
            Tensor sum = torch::zeros({n, n}, torch::kFloat64);
            return operations *
                   speed(seconds, kFewTokens, text.batch_tokens, [&](std::int64_t tokens) {
                     return [&, a = torch::randn({tokens, n})] {
                       sum += layerwise::gram(a, dtype_of(text));
                     };
                   });
          }};
}

Item solve(std::int64_t n, std::int64_t m) {
  const double share = real(m) / real(n);
  const auto operations = [share](std::int64_t size) {
    return real(size) * real(size) * real(size) * (1.0 / 3 + 2 * share);
  };
  return {"least squares", shape("solve", n, m), operations(n), 15e9, [=](double seconds) {
            const torch::InferenceMode inference;
            return speed(
                seconds, kFewChannels, n,
                [&](std::int64_t size) {
                  const auto rows = std::max<std::int64_t>(1, std::llround(share * real(size)));
                  const Tensor a = torch::randn({size, size}, torch::kFloat64);
                  const layerwise::NormalEquations sums{
                      a.t().matmul(a), torch::randn({size, rows}, torch::kFloat64), {}, size};
                  return [sums, prior = torch::zeros({rows, size})] {
                    static_cast<void>(sums.solve(prior, 0.1).to(torch::kFloat32).contiguous());
                  };
                },
                operations);
          }};
}

Item product(std::int64_t a, std::int64_t b, std::int64_t c) {
  const double operations = 2 * real(b) * real(c);
  return {"product", shape("product", b, c), operations * real(a), 80e9, [=](double seconds) {
            const torch::InferenceMode inference;
            const Tensor y = torch::randn({b, c});
            return operations * speed(seconds, std::min(kFewTokens, a), a, [&](std::int64_t rows) {
                     return [&, x = torch::randn({rows, b})] { static_cast<void>(x.matmul(y)); };
                   });
          }};
}

}  // namespace espalier::timing
