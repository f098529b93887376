// SPDX-License-Identifier: Apache-2.0
// Adds up what an evaluation holds.
#include "verify/memory.h"

#include <algorithm>
#include <vector>

#include "plan/memory.h"
#include "verify/divergence.h"

namespace espalier::verify {
namespace {

constexpr std::int64_t kProgram = std::int64_t{384} << 20;      // code, libraries, tokenizers
constexpr std::int64_t kOutputBlock = std::int64_t{128} << 20;  // of a matrix, and as it is stored

std::int64_t output_bytes(const arch::ModelDims& dims) { return dims.vocab * dims.hidden * 4; }

// The states of one window, of all training models.
std::int64_t window_bytes(std::span<const ModelSize> models, std::int64_t context) {
  std::int64_t sum = 0;
  for (const ModelSize& m : models)
    if (m.engine == Engine::training) sum += 4 * context * m.dims.hidden;
  return sum;
}

// Activations while one window goes through a layer.
std::int64_t activation_bytes(const arch::ModelDims& dims, std::int64_t context) {
  std::int64_t widest = 0;
  for (const arch::LayerDims& l : dims.layers) {
    const std::int64_t q_heads = l.heads(),
                       attention = 3 * (q_heads + 2 * l[arch::Axis::kv_groups]) * dims.head_dim,
                       // explicit scores, where attention is not the plain one
        scores = dims.attention_softcap > 0 || (l.local && dims.window < context)
                     ? 4 * q_heads * context
                     : 0;
    widest = std::max({widest, attention + scores, 3 * l[arch::Axis::ffn]});
  }
  return 4 * context * widest;
}

// Weights of the device engine. A layer lies in the file, is packed, and its buffers are those of
// so many tokens at a time; the embedding and the output matrix stay.
std::int64_t device_bytes(const ModelSize& m, bool whole) {
  if (whole) return m.file_bytes;
  constexpr std::int64_t kScratch = std::int64_t{256} << 20;
  const std::int64_t all = arch::parameters(*m.arch, m.dims);
  std::int64_t layer = 0, rest = all;
  std::vector<std::int64_t> of_layers(m.dims.layers.size(), 0);
  for (const arch::TensorRef& t : arch::tensors(*m.arch, m.dims))
    if (t.layer >= 0) of_layers[static_cast<std::size_t>(t.layer)] += t.elements();
  for (const std::int64_t n : of_layers) {
    layer = std::max(layer, n);
    rest -= n;
  }
  const double bytes_each = static_cast<double>(m.file_bytes) / static_cast<double>(all);
  return kScratch + static_cast<std::int64_t>(2.0 * static_cast<double>(layer + rest) * bytes_each);
}

// Everything but the buffer.
std::int64_t fixed_bytes(std::span<const ModelSize> models, std::int64_t context,
                         std::int64_t parity_tokens, const MemoryBudget& budget) {
  std::int64_t walking = kProgram, resident = 0, vocab = 0;
  for (const ModelSize& m : models) {
    vocab = std::max(vocab, m.dims.vocab);
    if (m.engine == Engine::device) {
      resident += device_bytes(m, budget.device_whole) + context * arch::kv_bytes_per_token(m.dims);
      continue;
    }
    walking = std::max(
        walking, plan::layer_stage_memory(*m.arch, m.dims, {.tokens = context, .sums = false}) +
                     activation_bytes(m.dims, context));
    resident += keeps_output(m.dims, budget) ? output_bytes(m.dims) : kOutputBlock;
  }
  // Logits, log-probabilities of both models and what is computed of them; of parity in float64.
  const std::int64_t rows = 5 * std::min(rows_at_once(vocab), context) * vocab * 4,
                     parity = 7 * parity_tokens * vocab * 4;
  return walking + resident + std::max(rows, parity);
}

}  // namespace

bool keeps_output(const arch::ModelDims& dims, const MemoryBudget& budget) {
  return output_bytes(dims) <= budget.output_bytes;
}

std::int64_t chunk_windows(std::span<const ModelSize> models, std::int64_t context,
                           const MemoryBudget& budget) {
  return std::max<std::int64_t>(
      1, budget.buffer_bytes / std::max<std::int64_t>(1, window_bytes(models, context)));
}

std::int64_t peak_memory(std::span<const ModelSize> models, std::int64_t context,
                         std::int64_t windows, std::int64_t parity_tokens,
                         const MemoryBudget& budget) {
  const std::int64_t chunk = chunk_windows(models, context, budget);
  return fixed_bytes(models, context, parity_tokens, budget) +
         (windows > 0 ? std::min(windows, chunk) : chunk) * window_bytes(models, context);
}

MemoryBudget budget_within(std::int64_t limit, std::span<const ModelSize> models,
                           std::int64_t context, std::int64_t parity_tokens) {
  MemoryBudget out;
  if (limit == 0) return out;
  const std::int64_t one = window_bytes(models, context);
  const auto fits = [&] { return fixed_bytes(models, context, parity_tokens, out) + one <= limit; };
  if (!fits()) out.output_bytes = 0;
  if (!fits()) out.device_whole = false;
  const std::int64_t fixed = fixed_bytes(models, context, parity_tokens, out);
  plan::require_memory(fixed + one, limit,
                       "give a shorter --context, or compare fewer models at once");
  out.buffer_bytes = limit - fixed;
  return out;
}

}  // namespace espalier::verify
