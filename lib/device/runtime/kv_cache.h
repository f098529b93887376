// SPDX-License-Identifier: Apache-2.0
// Keys (after rotation) and values of every position seen, as numbers or in blocks
// (kernels/step_kernels.h). One layer holds [K, context] rows of D values of each, so that one head
// reads a contiguous run. Pages are taken as positions come, and given back where a window has left
// them behind. Writing different positions or groups from several threads is safe; so is reading
// while nobody writes.
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
  // Error(unsupported) when heads are no whole blocks of the type.
  KvCache(const arch::ModelDims& dims, std::int64_t context, SessionOptions::KvType type);

  std::int64_t context() const { return context_; }
  std::int64_t position() const { return position_; }  // tokens held
  void advance(std::int64_t n) noexcept;
  void clear();
  void rewind(std::int64_t position) {
    position_ = position;
  }                                      // earliest_rewind() <= position <= position()
  std::int64_t earliest_rewind() const;  // what a token there would see was not given back
  std::int64_t bytes_per_token() const;
  std::int64_t bytes() const {
    return bytes_per_token() * context_;
  }  // when it is full and no layer has a window

  void store(int layer, std::int64_t group, std::int64_t position, const float* k_D,
             const float* v_D, const kernels::StepKernels& steps) noexcept;
  // The attention of kernels/step_kernels.h on one group of one layer; visible[j] counts positions
  // from `first` on.
  void attend(int layer, std::int64_t group, std::int64_t first, const float* q, std::int64_t ldq,
              const std::int64_t* visible, std::int64_t n_queries, float scale, float cap,
              float* scores, float* out, std::int64_t ldo,
              const kernels::StepKernels& steps) const noexcept;

 private:
  struct Layer {
    Buffer<unsigned char> k, v;  // [K, context] rows
    std::int64_t groups = 0;
    std::int64_t window = 0;   // positions that a token sees, itself included; 0: all
    std::int64_t dropped = 0;  // the first positions, whose pages were given back
  };
  std::int64_t offset(std::int64_t group, std::int64_t position) const {
    return (group * context_ + position) * row_bytes_;
  }
  void drop(Layer& layer, std::int64_t end) noexcept;

  kernels::KvFormat format_;
  std::int64_t context_, head_dim_, row_bytes_, position_ = 0, rows_per_token_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace espalier::runtime
