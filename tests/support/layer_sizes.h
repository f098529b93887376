// SPDX-License-Identifier: Apache-2.0
// Sizes of layers with attention and an FFN.
#pragma once
#include <array>
#include <vector>

#include "arch/dims.h"

namespace espalier::support {

inline arch::LayerDims layer_sizes(std::int64_t kv_groups, std::int64_t q_per_kv,
                                   std::int64_t ffn) {
  return {.sizes = {{arch::Axis::kv_groups, kv_groups},
                    {arch::Axis::q_per_kv, q_per_kv},
                    {arch::Axis::ffn, ffn}}};
}

using LayerSizes = std::array<std::int64_t, 3>;  // kv_groups, q_per_kv, ffn
inline std::vector<arch::LayerDims> layer_list(const std::vector<LayerSizes>& layers) {
  std::vector<arch::LayerDims> out;
  for (const auto& [kv_groups, q_per_kv, ffn] : layers)
    out.push_back(layer_sizes(kv_groups, q_per_kv, ffn));
  return out;
}

}  // namespace espalier::support
