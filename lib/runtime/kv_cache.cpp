#include "runtime/kv_cache.h"

#include <algorithm>

namespace espalier::runtime {

KvCache::KvCache(const arch::ModelDims& dims, std::int64_t context, SessionOptions::KvType type)
    : context_(context), head_dim_(dims.head_dim), half_(type == SessionOptions::KvType::f16) {
  for (const arch::LayerDims& l : dims.layers) {
    const std::int64_t n = l.kv_groups * context * dims.head_dim;
    Layer layer;
    if (half_) {
      layer.k16 = Buffer<std::uint16_t>(n);
      layer.v16 = Buffer<std::uint16_t>(n);
    } else {
      layer.k32 = Buffer<float>(n);
      layer.v32 = Buffer<float>(n);
    }
    layers_.push_back(std::move(layer));
    values_per_token_ += 2 * l.kv_groups * dims.head_dim;
  }
}

std::int64_t KvCache::bytes_per_token() const {
  return values_per_token_ * static_cast<std::int64_t>(half_ ? sizeof(std::uint16_t) : sizeof(float));
}

void KvCache::store(int layer, std::int64_t group, std::int64_t position, const float* k_D, const float* v_D,
                    const kernels::StepKernels& steps) noexcept {
  Layer& l = layers_[static_cast<std::size_t>(layer)];
  const std::int64_t at = offset(group, position);
  if (half_) {
    steps.to_f16(k_D, head_dim_, l.k16.data() + at);
    steps.to_f16(v_D, head_dim_, l.v16.data() + at);
  } else {
    std::copy_n(k_D, head_dim_, l.k32.data() + at);
    std::copy_n(v_D, head_dim_, l.v32.data() + at);
  }
}

void KvCache::attend(int layer, std::int64_t group, std::int64_t first, const float* q, std::int64_t ldq, const std::int64_t* visible,
                     std::int64_t n_queries, float scale, float cap, float* scores, float* out, std::int64_t ldo,
                     const kernels::StepKernels& steps) const noexcept {
  const Layer& l = layers_[static_cast<std::size_t>(layer)];
  const std::int64_t at = offset(group, first);
  if (half_)
    steps.attention_f16(q, ldq, visible, n_queries, l.k16.data() + at, l.v16.data() + at, head_dim_, head_dim_, scale, cap, scores, out, ldo);
  else
    steps.attention_f32(q, ldq, visible, n_queries, l.k32.data() + at, l.v32.data() + at, head_dim_, head_dim_, scale, cap, scores, out, ldo);
}

}  // namespace espalier::runtime
