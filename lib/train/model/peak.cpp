// SPDX-License-Identifier: Apache-2.0
// Times square matrix products.
#include "model/peak.h"

#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <limits>

namespace espalier::model {

double peak_operations_per_second() {
  const torch::NoGradGuard no_grad;
  constexpr std::int64_t kSize = 2048;
  const torch::Tensor a = torch::ones({kSize, kSize}), b = torch::ones({kSize, kSize});
  torch::Tensor out = torch::empty({kSize, kSize});
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::mm_out(out, a, b);
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * kSize * kSize * kSize / best;
}

}  // namespace espalier::model
