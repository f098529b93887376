// SPDX-License-Identifier: Apache-2.0
// The GPTQ sweep over a chunk of rows. All rows round a sub-block before the next one. Its
// differences reach the columns of its batch at once, and those behind the batch when that is done.
#include <algorithm>

#include "format/lanes/lanes.h"
#include "quant/chunk.h"

namespace espalier::quant {
namespace {

using format::kLanes;

constexpr std::int64_t kBatch = kMaxDepth;  // columns between two updates of the rest of the row

class Sweep {
 public:
  explicit Sweep(Chunk& chunk)
      : chunk_(chunk),
        grid_(chunk.grid),
        cols_(chunk.factor.cols()),
        w_(static_cast<std::size_t>(kRowChunk * cols_), 0.0f),
        lane_w_(kMaxSub * kRowChunk),
        lane_difference_(kMaxSub * kRowChunk),
        step_(kMaxCandidates * kRowChunk),
        offset_(kMaxCandidates * kRowChunk),
        differences_(kRowChunk * kBatch) {
    std::copy_n(chunk.weights, chunk.rows * cols_, w_.begin());
  }

  void run() {
    for (std::int64_t begin = 0; begin < cols_; begin += kBatch) {
      const std::int64_t end = std::min(begin + kBatch, cols_);
      for (std::int64_t c = begin; c < end; c += grid_.sub) {
        if (grid_.super && c % grid_.block == 0) choose_block_scales(c);
        choose_candidates(c);
        round_sub_block(c, begin);
        update(c, begin, grid_.sub, c + grid_.sub, end);
      }
      update(begin, begin, end - begin, end, cols_);
    }
  }

 private:
  // `n` columns of kLanes rows from `row` on, value by value. Rows that the chunk lacks are 0.
  void gather(std::int64_t row, std::int64_t c, int n, float* out) const {
    format::lane_search().interleave(w_.data() + row * cols_ + c, cols_, n, out);
  }
  // The weights of n columns, for each lane.
  void spread_weights(std::int64_t c, int n, float* out) const {
    float uniform[kMaxBlock];
    const float* weight = format::usable_weights(chunk_.factor.weight() + c, n, uniform);
    for (int i = 0; i < n; ++i) std::fill_n(out + i * kLanes, kLanes, weight[i]);
  }

  // block_scale() of all rows.
  void choose_block_scales(std::int64_t c) {
    float x[kMaxBlock * kLanes], weight[kMaxBlock * kLanes];
    spread_weights(c, grid_.block, weight);
    format::SuperLanes fit;
    for (std::int64_t row = 0; row < chunk_.rows; row += kLanes) {
      gather(row, c, grid_.block, x);
      format::lane_search().fit_super(grid_, x, weight, false, fit);
      BlockScale* out = chunk_.block.data() + c / grid_.block * kRowChunk + row;
      for (int l = 0; l < kLanes; ++l)
        out[l] = {fit.d[l], grid_.affine ? fit.m[l] : std::uint16_t{0}};
    }
  }

  // scale_candidates() of all rows.
  void choose_candidates(std::int64_t c) {
    float x[kMaxSub * kLanes], weight[kMaxSub * kLanes], step[kLanes], offset[kLanes];
    spread_weights(c, grid_.sub, weight);
    const BlockScale* block = chunk_.block.data() + c / grid_.block * kRowChunk;
    n_candidates_ = 1;
    std::fill(step_.begin(), step_.end(), 0.0f);
    std::fill(offset_.begin(), offset_.end(), 0.0f);
    std::fill_n(count_, kRowChunk, 1);
    for (std::int64_t row = 0; row < chunk_.rows; row += kLanes) {
      gather(row, c, grid_.sub, x);
      format::lane_search().fit(grid_, x, weight, step, offset);
      for (std::int64_t r = row; r < std::min(row + kLanes, chunk_.rows); ++r) {
        SubScale* candidates = candidates_[r];
        const int n =
            candidates_around(grid_, block[r], step[r - row], offset[r - row], candidates);
        count_[r] = n;
        n_candidates_ = std::max(n_candidates_, n);
        for (int k = 0; k < n; ++k) {
          step_[static_cast<std::size_t>(k * kRowChunk + r)] = candidates[k].step;
          offset_[static_cast<std::size_t>(k * kRowChunk + r)] = candidates[k].offset;
        }
      }
    }
  }

  void round_sub_block(std::int64_t c, std::int64_t begin) {
    const int sub = grid_.sub;
    float feedback[kMaxSub * kMaxSub];
    for (int i = 0; i < sub; ++i)
      for (int k = 0; k < sub; ++k)
        feedback[i * sub + k] = chunk_.factor.feedback()[(c + k) * cols_ + c + i];
    for (std::int64_t r = 0; r < kRowChunk; ++r)
      for (int i = 0; i < sub; ++i)
        lane_w_[static_cast<std::size_t>(i * kRowChunk + r)] =
            w_[static_cast<std::size_t>(r * cols_ + c + i)];
    std::int32_t best[kRowChunk];
    chunk_.kernels.sweep({.grid = grid_,
                          .w = lane_w_.data(),
                          .feedback = feedback,
                          .weight = chunk_.factor.weight() + c,
                          .candidates = n_candidates_,
                          .step = step_.data(),
                          .offset = offset_.data(),
                          .count = count_,
                          .best = best,
                          .level = chunk_.level.data() + c * kRowChunk,
                          .difference = lane_difference_.data()});
    SubScale* scale = chunk_.scale.data() + c / sub * kRowChunk;
    for (std::int64_t r = 0; r < chunk_.rows; ++r) {
      scale[r] = candidates_[r][best[r]];
      for (int i = 0; i < sub; ++i)
        differences_[static_cast<std::size_t>(r * kBatch + c - begin + i)] =
            lane_difference_[static_cast<std::size_t>(i * kRowChunk + r)];
    }
  }

  // Moves the columns first .. end by the differences of n columns from c on.
  void update(std::int64_t c, std::int64_t begin, std::int64_t n, std::int64_t first,
              std::int64_t end) {
    if (first >= end) return;
    chunk_.kernels.multiply({.rows = chunk_.rows,
                             .coefficient = differences_.data() + (c - begin),
                             .coefficient_stride = kBatch,
                             .index = nullptr,
                             .count = nullptr,
                             .matrix = chunk_.factor.feedback() + c * cols_,
                             .depth = n,
                             .stride = cols_,
                             .first = first,
                             .end = end,
                             .out = w_.data(),
                             .adds = false});
  }

  Chunk& chunk_;
  const Grid& grid_;
  const std::int64_t cols_;
  std::vector<float> w_;  // [kRowChunk, cols] current weights
  std::vector<float> lane_w_, lane_difference_, step_, offset_;
  std::vector<float> differences_;  // [kRowChunk, kBatch]
  SubScale candidates_[kRowChunk][kMaxCandidates];
  std::int32_t count_[kRowChunk];
  int n_candidates_ = 0;
};

}  // namespace

void sweep(Chunk& chunk) { Sweep(chunk).run(); }

}  // namespace espalier::quant
