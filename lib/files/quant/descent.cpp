// SPDX-License-Identifier: Apache-2.0
// Coordinate descent over a chunk of rows. All rows visit a sub-block before the next one. A visit
// updates only the sub-block's part of the gradient. One product with the changes, most of which
// are 0, then updates the rest.
#include <algorithm>

#include "quant/chunk.h"

namespace espalier::quant {
namespace {

class Descent {
 public:
  explicit Descent(Chunk& chunk)
      : chunk_(chunk),
        grid_(chunk.grid),
        cols_(chunk.factor.cols()),
        gradient_(static_cast<std::size_t>(chunk.rows * cols_), 0.0f),
        g_(kMaxSub * kRowChunk, 0.0f),
        e_(kMaxSub * kRowChunk),
        coefficient_(kMaxSub * kRowChunk),
        index_(kMaxSub * kRowChunk) {}

  void run() {
    const int passes = chunk_.factor.options().descent_passes;
    if (passes == 0) return;
    begin();
    for (int pass = 0; pass < passes; ++pass)
      for (std::int64_t c = 0; c < cols_; c += grid_.sub) {
        visit(c);
        // Nothing reads the gradient of the columns behind after the last pass.
        update(c, pass + 1 < passes ? 0 : c + grid_.sub);
      }
  }

 private:
  // The gradient (w - q) H.
  void begin() {
    std::vector<float> off(chunk_.weights, chunk_.weights + chunk_.rows * cols_);
    for (std::int64_t c = 0; c < cols_; ++c) {
      const SubScale* scale = chunk_.scale.data() + c / grid_.sub * kRowChunk;
      const std::int8_t* level = chunk_.level.data() + c * kRowChunk;
      for (std::int64_t r = 0; r < chunk_.rows; ++r)
        off[static_cast<std::size_t>(r * cols_ + c)] -= grid_value(scale[r], level[r]);
    }
    for (std::int64_t k = 0; k < cols_; k += kMaxDepth)
      chunk_.kernels.multiply({.rows = chunk_.rows,
                               .coefficient = off.data() + k,
                               .coefficient_stride = cols_,
                               .index = nullptr,
                               .count = nullptr,
                               .matrix = chunk_.factor.h() + k * cols_,
                               .depth = std::min<std::int64_t>(kMaxDepth, cols_ - k),
                               .stride = cols_,
                               .first = 0,
                               .end = cols_,
                               .out = gradient_.data(),
                               .adds = true});
  }

  void visit(std::int64_t c) {
    const int sub = grid_.sub;
    float h[kMaxSub * kMaxSub];
    for (int i = 0; i < sub; ++i)
      std::copy_n(chunk_.factor.h() + (c + i) * cols_ + c, sub, h + i * sub);
    for (std::int64_t r = 0; r < chunk_.rows; ++r)
      for (int i = 0; i < sub; ++i)
        g_[static_cast<std::size_t>(i * kRowChunk + r)] =
            gradient_[static_cast<std::size_t>(r * cols_ + c + i)];
    chunk_.kernels.descend({.grid = grid_,
                            .h = h,
                            .g = g_.data(),
                            .e = e_.data(),
                            .level = chunk_.level.data() + c * kRowChunk,
                            .scale = chunk_.scale.data() + c / sub * kRowChunk,
                            .block = chunk_.block.data() + c / grid_.block * kRowChunk});
  }

  // Takes the changes to the sub-block at c from the gradient of the columns from `first` on.
  void update(std::int64_t c, std::int64_t first) {
    std::int32_t count[kRowChunk] = {};
    for (int i = 0; i < grid_.sub; ++i)
      for (std::int64_t r = 0; r < chunk_.rows; ++r) {
        const float e = e_[static_cast<std::size_t>(i * kRowChunk + r)];
        if (e == 0) continue;
        const auto at = static_cast<std::size_t>(r * kMaxSub + count[r]++);
        coefficient_[at] = e;
        index_[at] = i;
      }
    chunk_.kernels.multiply({.rows = chunk_.rows,
                             .coefficient = coefficient_.data(),
                             .coefficient_stride = kMaxSub,
                             .index = index_.data(),
                             .count = count,
                             .matrix = chunk_.factor.h() + c * cols_,
                             .depth = grid_.sub,
                             .stride = cols_,
                             .first = first,
                             .end = cols_,
                             .out = gradient_.data(),
                             .adds = false});
  }

  Chunk& chunk_;
  const Grid& grid_;
  const std::int64_t cols_;
  std::vector<float> gradient_;  // [rows, cols]
  std::vector<float> g_, e_;     // the sub-block's, in lanes
  std::vector<float> coefficient_;
  std::vector<std::int32_t> index_;  // [kRowChunk, kMaxSub] changes that are not 0
};

}  // namespace

void descend(Chunk& chunk) { Descent(chunk).run(); }

}  // namespace espalier::quant
