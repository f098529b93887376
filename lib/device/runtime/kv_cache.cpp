// SPDX-License-Identifier: Apache-2.0
// Storage of keys and values, and return of the pages that windows have passed.
#include "runtime/kv_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace espalier::runtime {
namespace {

struct Format {
  kernels::KvFormat kernel;
  const char* name;
  std::int64_t block, block_bytes;
};
constexpr Format kFormats[] = {{kernels::kv_f32, "f32", 1, 4},
                               {kernels::kv_f16, "f16", 1, 2},
                               {kernels::kv_q8_0, "q8_0", 32, 34},
                               {kernels::kv_q4_0, "q4_0", 32, 18}};
static_assert(std::size(kFormats) == kernels::kKvFormats);

constexpr std::int64_t kDropEvery = 256;  // positions

}  // namespace

KvCache::KvCache(const arch::ModelDims& dims, std::int64_t context, SessionOptions::KvType type)
    : context_(context), head_dim_(dims.head_dim) {
  const Format& f = kFormats[static_cast<std::size_t>(type)];
  ESP_CHECK(head_dim_ % f.block == 0, unsupported, "--kv ", f.name, ": heads of ", head_dim_,
            " values are not a multiple of the block of ", f.block, "; use f16");
  format_ = f.kernel;
  row_bytes_ = head_dim_ / f.block * f.block_bytes;
  for (const arch::LayerDims& l : dims.layers) {
    const std::int64_t bytes = l[arch::Axis::kv_groups] * context * row_bytes_;
    layers_.push_back({.k = Buffer<unsigned char>(bytes),
                       .v = Buffer<unsigned char>(bytes),
                       .groups = l[arch::Axis::kv_groups],
                       .window = l.local ? dims.window : 0});
    rows_per_token_ += 2 * l[arch::Axis::kv_groups];
  }
}

std::int64_t KvCache::bytes_per_token() const { return rows_per_token_ * row_bytes_; }

void KvCache::clear() {
  position_ = 0;
  for (Layer& layer : layers_) layer.dropped = 0;
}

std::int64_t KvCache::earliest_rewind() const {
  std::int64_t out = 0;
  for (const Layer& layer : layers_)
    if (layer.dropped > 0) out = std::max(out, layer.dropped + layer.window - 1);
  return out;
}

void KvCache::advance(std::int64_t n) noexcept {
  position_ += n;
  for (Layer& layer : layers_) {
    // A few positions behind the window stay, for a caller that takes back its last tokens.
    const std::int64_t end = position_ - layer.window - kDropEvery / 2;
    if (layer.window > 0 && end >= layer.dropped + kDropEvery) return_pages(layer, end);
  }
}

// Returns the pages that lie wholly in positions [0, end) of a group and were not returned before.
void KvCache::return_pages(Layer& layer, std::int64_t end) noexcept {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (std::int64_t g = 0; g < layer.groups; ++g)
    for (Buffer<unsigned char>* buffer : {&layer.k, &layer.v}) {
      // The page in which the last call ended can go now, unless the group begins in it.
      const auto at = [&](std::int64_t position) {
        return reinterpret_cast<std::uintptr_t>(buffer->data() + offset(g, position));
      };
      const std::uintptr_t first = std::max(at(layer.dropped) / page * page,
                                            (at(0) + page - 1) / page * page),
                           last = at(end) / page * page;
      if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
    }
  layer.dropped = end;
}

void KvCache::store(int layer, std::int64_t group, std::int64_t position, const float* k_D,
                    const float* v_D, const kernels::StepKernels& steps) noexcept {
  Layer& l = layers_[static_cast<std::size_t>(layer)];
  const std::int64_t at = offset(group, position);
  steps.kv[format_].store(k_D, head_dim_, l.k.data() + at);
  steps.kv[format_].store(v_D, head_dim_, l.v.data() + at);
}

void KvCache::attend(int layer, std::int64_t group, std::int64_t first,
                     const kernels::AttentionQueries& queries,
                     const kernels::StepKernels& steps) const noexcept {
  const Layer& l = layers_[static_cast<std::size_t>(layer)];
  const std::int64_t at = offset(group, first);
  steps.kv[format_].attention(
      queries,
      {.k = l.k.data() + at, .v = l.v.data() + at, .stride = row_bytes_, .head_dim = head_dim_});
}

}  // namespace espalier::runtime
