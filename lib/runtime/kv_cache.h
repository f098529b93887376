// Keys (after rotation) and values of every position seen, in F32 or F16. One layer holds [K, context, D] of each, so that one head
// reads a contiguous run. Writing different positions or groups from several threads is safe; so is reading while nobody writes.
#pragma once
#include <cstdint>
#include <vector>

#include "arch/dims.h"
#include "kernels/linear.h"
#include "runtime/buffer.h"
#include "runtime/session.h"

namespace espalier::runtime {

class KvCache {
 public:
  KvCache(const arch::ModelDims& dims, std::int64_t context, SessionOptions::KvType type);

  std::int64_t context() const { return context_; }
  std::int64_t position() const { return position_; }  // tokens held
  void advance(std::int64_t n) { position_ += n; }
  void clear() { position_ = 0; }
  void rewind(std::int64_t position) { position_ = position; }   // earliest_rewind() <= position <= position()
  std::int64_t earliest_rewind() const { return 0; }             // every position seen is kept
  std::int64_t bytes_per_token() const;

  void store(int layer, std::int64_t group, std::int64_t position, const float* k_D, const float* v_D, const kernels::StepKernels& steps) noexcept;
  // The attention of kernels/step_kernels.h on one group of one layer; visible[j] counts positions from `first` on.
  void attend(int layer, std::int64_t group, std::int64_t first, const float* q, std::int64_t ldq, const std::int64_t* visible, std::int64_t n_queries,
              float scale, float cap, float* scores, float* out, std::int64_t ldo, const kernels::StepKernels& steps) const noexcept;

 private:
  struct Layer {
    Buffer<float> k32, v32;          // [K, context, D], one pair of the two in use
    Buffer<std::uint16_t> k16, v16;
  };
  std::int64_t offset(std::int64_t group, std::int64_t position) const { return (group * context_ + position) * head_dim_; }

  std::int64_t context_, head_dim_, position_ = 0, values_per_token_ = 0;
  bool half_;
  std::vector<Layer> layers_;
};

}  // namespace espalier::runtime
