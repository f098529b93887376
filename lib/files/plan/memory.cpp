// SPDX-License-Identifier: Apache-2.0
// Predicts peak memory from the sizes of a model.
#include "plan/memory.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace espalier::plan {
namespace {

// Code, LibTorch and its libraries, tokenizer, headers.
constexpr std::int64_t kProgram = std::int64_t{384} << 20;
// Bytes read, values decoded, values encoded.
constexpr std::int64_t kWindows = std::int64_t{384} << 20;

}  // namespace

std::int64_t largest_layer(const arch::Arch& arch, const arch::ModelDims& dims) {
  // The first entry is the model scope.
  std::vector<std::int64_t> elements(dims.layers.size() + 1);
  for (const arch::TensorRef& t : arch::tensors(arch, dims))
    elements[static_cast<std::size_t>(t.layer + 1)] += t.elements();
  return *std::max_element(elements.begin() + 1, elements.end());
}

std::int64_t file_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims) {
  std::int64_t turned = 0;  // matrices stored columns first are transposed as a whole
  for (const arch::TensorRef& t : arch::tensors(arch, dims))
    if (t.spec->to_gguf == arch::Transform::transpose) turned = std::max(turned, t.elements());
  return kProgram + kWindows + 2 * turned * 4;
}

std::int64_t layer_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                                const LayerStage& stage) {
  std::int64_t inner = 0, widest = dims.hidden;
  for (const arch::LayerDims& l : dims.layers) {
    const std::int64_t heads = l.kv_groups * l.q_per_kv * dims.head_dim;
    inner = std::max(inner, std::max(heads, l.ffn));
    widest = std::max({widest, heads, l.ffn});
  }
  const std::int64_t streams = stage.tokens * dims.hidden * 4 * (stage.streams + 2),
                     activations = stage.tokens * inner * 4;
  const std::int64_t moments = stage.moments ? 4 * widest * widest * 8 : 0;
  return kProgram + kWindows + largest_layer(arch, dims) * 4 * 2 + streams +
         (stage.streams > 1 ? activations : 0) + moments;
}

void require_memory(std::int64_t need, std::int64_t limit, const char* advice) {
  ESP_CHECK(limit == 0 || need <= limit, unsupported, "about ", core::human_bytes(need),
            " of memory are needed, --max-ram allows ", core::human_bytes(limit), "; ", advice);
}

}  // namespace espalier::plan
