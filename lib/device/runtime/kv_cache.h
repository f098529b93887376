// SPDX-License-Identifier: Apache-2.0
// Keys (after rotation) and values of every position read, as numbers or in blocks
// (kernels/step_kernels.h). For keys and for values, a layer holds [K, context] rows of D values.
// So one head reads a contiguous run.
//
// Pages are taken as positions arrive, and returned once a window has passed them. Several threads
// may write different positions or groups at once. They may read at once while no thread writes.
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
  // Error(unsupported) when a head is not a multiple of the type's block.
  KvCache(const arch::ModelDims& dims, std::int64_t context, SessionOptions::KvType type);

  std::int64_t context() const { return context_; }
  std::int64_t position() const { return position_; }  // number of tokens held
  void advance(std::int64_t n) noexcept;
  void clear();
  // earliest_rewind() <= position <= position().
  void rewind(std::int64_t position) { position_ = position; }
  // The smallest position from which everything that a token would see is still held.
  std::int64_t earliest_rewind() const;
  std::int64_t bytes_per_token() const;
  // Size of a full cache when no layer has a window.
  std::int64_t bytes() const { return bytes_per_token() * context_; }

  void store(int layer, std::int64_t group, std::int64_t position, const float* k_D,
             const float* v_D, const kernels::StepKernels& steps) noexcept;
  // The attention of kernels/step_kernels.h on one group of one layer. visible[j] counts positions
  // from `first` on.
  void attend(int layer, std::int64_t group, std::int64_t first,
              const kernels::AttentionQueries& queries,
              const kernels::StepKernels& steps) const noexcept;

 private:
  struct Layer {
    Buffer<unsigned char> k, v;  // [K, context] rows
    std::int64_t groups = 0;
    std::int64_t window = 0;   // positions that a token sees, its own included; 0: all
    std::int64_t dropped = 0;  // number of leading positions whose pages were returned
  };
  std::int64_t offset(std::int64_t group, std::int64_t position) const {
    return (group * context_ + position) * row_bytes_;
  }
  void return_pages(Layer& layer, std::int64_t end) noexcept;

  kernels::KvFormat format_;
  std::int64_t context_, head_dim_, row_bytes_, position_ = 0, rows_per_token_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace espalier::runtime
