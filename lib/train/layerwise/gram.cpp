// SPDX-License-Identifier: Apache-2.0
// Symmetric products by panels.
#include "layerwise/gram.h"

#include <algorithm>

#include "core/error.h"
#include "core/profile.h"

namespace espalier::layerwise {

torch::Tensor gram(const torch::Tensor& a) {
  constexpr std::int64_t kPanel = 192;
  const core::Section section("gram");
  const std::int64_t width = a.size(1);
  core::count_operations(static_cast<double>(a.size(0)) * static_cast<double>(width) *
                         static_cast<double>(width + 1));
  torch::Tensor out = torch::empty({width, width});
  for (std::int64_t begin = 0; begin < width; begin += kPanel) {
    const std::int64_t end = std::min(width, begin + kPanel);
    const torch::Tensor part =
        a.narrow(1, begin, end - begin).t().matmul(a.narrow(1, begin, width - begin));
    out.narrow(0, begin, end - begin).narrow(1, begin, width - begin).copy_(part);
    if (end < width)
      out.narrow(0, end, width - end)
          .narrow(1, begin, end - begin)
          .copy_(part.narrow(1, end - begin, width - end).t());
  }
  // A finite diagonal bounds all other entries.
  ESP_CHECK(torch::isfinite(out.diagonal()).all().item<bool>(), input,
            "second moments: the squares of activations of this text exceed the range of float32, "
            "so that there are no statistics");
  return out;
}

}  // namespace espalier::layerwise
