// SPDX-License-Identifier: Apache-2.0
// What a format can store at all. Most scales of block formats are binary16. They saturate beyond
// 65504. Below 2^-22 they round by more than an eighth, down to 0. (QuantFormat::largest and
// least.)
//
// So a weight that no scale reaches would be cut to a fraction of its value, and a matrix of tiny
// weights would become zeros. A matrix that loses in either way is refused, whatever the rounding.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/thread_pool.h"
#include "format/quant_format.h"

namespace espalier::quant {

// The index of the first weight that no scale of its block reaches. Empty: all weights can be
// stored. weights: whole rows of `cols` finite values.
std::optional<std::int64_t> first_beyond(std::span<const float> weights, std::int64_t cols,
                                         format::FormatId format);

// Describes that weight and names the formats that hold it. first_row is the row of `weights` in
// the matrix.
std::string beyond_text(std::span<const float> weights, std::int64_t at, std::int64_t cols,
                        std::int64_t first_row, format::FormatId format);

// Statistics of matrices, collected in one pass for all formats. For almost every matrix they
// suffice to tell that a format holds it.
class Magnitudes {
 public:
  void add(std::span<const float> weights);  // takes whole rows
  bool surely_held(format::FormatId format) const;

 private:
  static constexpr int kPowers = 64;
  float largest_ = 0;
  double energy_ = 0;
  std::array<double, kPowers> of_power_{};  // energy of runs whose largest value is below 2^-i
};

// Checks one matrix against one format, in pieces of whole rows. Several threads may check a piece
// each, and add() in the order of the pieces tells the same as one.
class RangeCheck {
 public:
  // `first_row`: of the piece.
  RangeCheck(std::int64_t cols, format::FormatId format, std::int64_t first_row = 0)
      : cols_(cols), format_(format), rows_(first_row) {}
  void add(std::span<const float> weights);
  void add(std::span<const float> weights, core::ThreadPool& pool);
  void add(const RangeCheck& next);  // of the rows behind
  // Describes the first weight that the format cannot store: its place, and the formats that can.
  // Empty: none so far.
  const std::string& beyond() const { return beyond_; }
  // Why the format cannot hold the whole matrix. Empty: it can.
  std::string refusal() const;

 private:
  std::int64_t cols_;
  format::FormatId format_;
  std::int64_t rows_;
  double energy_ = 0, lost_ = 0;
  std::string beyond_;
};

}  // namespace espalier::quant
