// SPDX-License-Identifier: Apache-2.0
// Symmetric products by panels.
#include "layerwise/gram.h"

#include <algorithm>

#include "core/error.h"
#include "core/profile.h"
#include "model/ops/cpu/bf16_panels.h"

namespace espalier::layerwise {

using model::cpu::Panels;
using torch::Tensor;
namespace {

Tensor panels_of_triangle(const Tensor& a) {
  constexpr std::int64_t kPanel = 192;
  const std::int64_t width = a.size(1);
  Tensor out = torch::empty({width, width});
  for (std::int64_t begin = 0; begin < width; begin += kPanel) {
    const std::int64_t end = std::min(width, begin + kPanel);
    const Tensor part =
        a.narrow(1, begin, end - begin).t().matmul(a.narrow(1, begin, width - begin));
    out.narrow(0, begin, end - begin).narrow(1, begin, width - begin).copy_(part);
    if (end < width)
      out.narrow(0, end, width - end)
          .narrow(1, begin, end - begin)
          .copy_(part.narrow(1, end - begin, width - end).t());
  }
  return out;
}

void count(const Tensor& a, std::int64_t columns) {
  core::count_operations(static_cast<double>(a.numel()) * static_cast<double>(columns));
}

Tensor checked(Tensor gram) {
  // A finite diagonal bounds all other entries.
  ESP_CHECK(torch::isfinite(gram.diagonal()).all().item<bool>(), input,
            "second moments: the squares of activations of this text exceed the range of float32, "
            "so that there are no statistics");
  return gram;
}

// The values that products of this type see.
Tensor rounded(const Tensor& t, torch::ScalarType dtype) {
  return dtype == torch::kFloat32 ? t : t.to(dtype).to(torch::kFloat32);
}

bool by_panels(torch::ScalarType dtype) {
  return dtype == torch::kBFloat16 && model::cpu::has_bf16_products();
}

}  // namespace

Tensor gram(const Tensor& a, torch::ScalarType dtype) {
  const core::Section section("gram");
  count(a, a.size(1) + 1);
  if (!by_panels(dtype)) return checked(panels_of_triangle(rounded(a, dtype)));
  const Tensor vectors = a.contiguous().t();
  return checked(model::cpu::symmetric_product(Panels(vectors, Panels::Side::left),
                                               Panels(vectors, Panels::Side::right)));
}

Products gram_and_cross(const Tensor& a, const Tensor& b, torch::ScalarType dtype) {
  const core::Section section("gram");
  count(a, a.size(1) + 1 + 2 * b.size(1));
  if (!by_panels(dtype)) {
    const Tensor values = rounded(a, dtype);
    return {checked(panels_of_triangle(values)), values.t().matmul(rounded(b, dtype))};
  }
  const Tensor vectors = a.contiguous().t();
  const Panels left(vectors, Panels::Side::left);
  return {checked(model::cpu::symmetric_product(left, Panels(vectors, Panels::Side::right))),
          model::cpu::product(left, Panels(b.contiguous().t(), Panels::Side::right))};
}

}  // namespace espalier::layerwise
