// SPDX-License-Identifier: Apache-2.0
// Predicts peak memory from the sizes of a model.
#include "plan/memory.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace espalier::plan {
namespace {

// Code, LibTorch and its libraries, headers; and of a tokenizer, for each of its tokens.
constexpr std::int64_t kProgram = std::int64_t{134} * 1000 * 1000, kToken = 600;
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
  return kProgram + kToken * dims.vocab + kWindows + 2 * turned * 4;
}

namespace {

std::int64_t square(std::int64_t n) { return n * n; }

// Of one layer, over its blocks.
struct Widths {
  std::int64_t forward = 0;  // values of one token between the block's norm and its consumer
  std::int64_t inner = 0;    // what a consumer reads
  std::int64_t moments = 0;  // second moments of what readers and consumers read

  Widths(const arch::Arch& arch, const arch::ModelDims& dims, const arch::LayerDims& l) {
    for (const arch::Block& block : arch.blocks) {
      const std::int64_t n = arch::length(block.find(block.consumer)->cols, dims, &l);
      forward = std::max(forward, forward_values(block.kind, n, dims, l));
      inner = std::max(inner, n);
      moments += square(dims.hidden) + square(n);
    }
  }

 private:
  static std::int64_t forward_values(arch::BlockKind kind, std::int64_t inner,
                                     const arch::ModelDims& dims, const arch::LayerDims& l) {
    switch (kind) {
      case arch::BlockKind::attention:
        return 3 * (inner + l[arch::Axis::kv_groups] * dims.head_dim);
      case arch::BlockKind::ffn:
        return 4 * inner;
      default:
        arch::not_computed(kind);
    }
  }
};

// Values that one token has while it goes through the layer.
std::int64_t forward_values(const Widths& w, std::int64_t hidden) { return 3 * hidden + w.forward; }
// Values while a sum takes them up: squares and their float64, and gaps between blocks of memory.
std::int64_t summed_values(const Widths& w) { return 8 * w.inner; }

// Both sides of the normal equations in float64, of the windows that a fit sees, of those that are
// held out, and of all; damped, factorized, and the solution.
std::int64_t least_squares_bytes(const Widths& w, std::int64_t hidden) {
  return 8 * (8 * square(w.inner) + 6 * w.inner * hidden);
}

// Second moments of a layer in float64, and those that are being added.
std::int64_t moments_bytes(const Widths& w) { return 8 * w.moments + 12 * square(w.inner); }

}  // namespace

std::int64_t layer_stage_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                                const LayerStage& stage) {
  const std::int64_t H = dims.hidden;
  std::int64_t of_token = 0, kept = 0, squares = 0;
  for (const arch::LayerDims& l : dims.layers) {
    const Widths w(arch, dims, l);
    of_token = std::max(of_token, forward_values(w, H) + (stage.sums ? summed_values(w) : 0));
    kept = std::max(kept, w.inner);
    if (stage.follows) squares = std::max(squares, least_squares_bytes(w, H));
    if (stage.gram) squares = std::max(squares, moments_bytes(w));
  }
  const std::int64_t models = stage.follows ? 2 : 1;
  return kProgram + kToken * dims.vocab + models * 4 * largest_layer(arch, dims) +
         4 * stage.tokens * ((models + stage.streams) * H + (stage.follows ? kept : 0)) +
         4 * std::min(stage.batch_tokens, stage.tokens) * of_token + squares + stage.more;
}

std::int64_t gram_bytes(const arch::Arch& arch, const arch::ModelDims& dims) {
  std::int64_t n = 0;
  for (const arch::LayerDims& l : dims.layers) n += Widths(arch, dims, l).moments;
  return 4 * n;
}

std::int64_t batch_within(std::int64_t limit, std::int64_t sequence, const char* advice,
                          const std::function<std::int64_t(std::int64_t)>& need) {
  ESP_CHECK(sequence >= 1, usage, "sequence ", sequence, ": expected a number above 0");
  std::int64_t batch = std::max<std::int64_t>(1, text::kBatchTokens / sequence) * sequence;
  while (limit > 0 && batch > sequence && need(batch) > limit) batch -= sequence;
  require_memory(need(batch), limit, advice);
  return batch;
}

void require_memory(std::int64_t need, std::int64_t limit, const char* advice) {
  ESP_CHECK(limit == 0 || need <= limit, unsupported, "about ", core::human_bytes(need),
            " of memory are needed, --max-ram allows ", core::human_bytes(limit), "; ", advice);
}

}  // namespace espalier::plan
