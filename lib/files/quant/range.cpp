// SPDX-License-Identifier: Apache-2.0
// Which values the scales of a format reach, and how much a matrix of small weights would lose.
#include "quant/range.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

#include "format/finite.h"
#include "quant/grid.h"

namespace espalier::quant {
namespace {

using format::FormatId;
using format::QuantFormat;

// The largest |step * level| over all steps that a stored scale of 1 gives. 1 for float formats.
float reach_of(const QuantFormat& f) {
  if (f.grid == nullptr) return 1.0f;
  const Grid& grid = *f.grid;
  const int level = std::max(std::abs(grid.low), std::abs(grid.high)),
            scale = grid.super ? std::max(std::abs(grid.scale_low), std::abs(grid.scale_high)) : 1;
  return static_cast<float>(level * scale);
}

// Several running maxima, so that compilers vectorise the loop.
float largest_of(const float* x, std::int64_t n) {
  constexpr int kRunning = 16;
  float largest[kRunning] = {};
  std::int64_t i = 0;
  for (; i + kRunning <= n; i += kRunning)
    for (int l = 0; l < kRunning; ++l) {
      const float size = std::fabs(x[i + l]);
      largest[l] = size > largest[l] ? size : largest[l];
    }
  for (; i < n; ++i) largest[0] = std::max(largest[0], std::fabs(x[i]));
  return *std::max_element(largest, largest + kRunning);
}

// The first of the grid.sub values sharing a scale that no scale reaches. -1: all are reached.
int first_beyond_in(const QuantFormat& f, const float* x) {
  const Grid& grid = *f.grid;
  const auto first = [&](const auto& is_beyond) {
    for (int i = 0; i < grid.sub; ++i)
      if (is_beyond(x[i])) return i;
    return -1;
  };
  const float reach = f.largest * reach_of(f);
  if (!grid.affine) return first([&](float v) { return std::fabs(v) > reach; });
  // value = step * level + offset, with the offset at the least value. For K formats the offset is
  // at most 0.
  const float offsets = f.largest * static_cast<float>(grid.super ? grid.scale_high : 1);
  float low = *std::min_element(x, x + grid.sub);
  if (grid.super) low = std::min(low, 0.0f);
  if (low < -offsets || low > offsets)
    return first([&](float v) { return std::fabs(v) > offsets; });
  return first([&](float v) { return v - low > reach; });
}

// Whether the format holds the block of `f.block` values that begins at x.
bool holds(const QuantFormat& f, const float* x) {
  return !first_beyond(std::span(x, static_cast<std::size_t>(f.block)), f.block, f.id);
}

struct Loss {
  double energy = 0, lost = 0;
};
// The sum of squares, and the part of it that rounding loses in blocks whose scale is too small for
// binary16.
Loss loss_of(const float* x, std::int64_t n, const QuantFormat& f, float least,
             std::vector<std::byte>& bytes, std::vector<float>& decoded) {
  Loss out;
  for (std::int64_t b = 0; b < n; b += f.block) {
    float squares[4] = {}, largest = 0;
    if (f.block % 4 == 0) {
      largest = largest_of(x + b, f.block);
      for (std::int64_t i = b; i < b + f.block; i += 4)
        for (int l = 0; l < 4; ++l) squares[l] += x[i + l] * x[i + l];
    } else {
      for (std::int64_t i = b; i < b + f.block; ++i) {
        squares[i % 4] += x[i] * x[i];
        largest = std::max(largest, std::fabs(x[i]));
      }
    }
    out.energy += static_cast<double>((squares[0] + squares[1]) + (squares[2] + squares[3]));
    if (largest >= least || largest == 0) continue;
    bytes.resize(static_cast<std::size_t>(f.block_bytes));
    decoded.resize(static_cast<std::size_t>(f.block));
    f.encode(x + b, nullptr, bytes.data(), f.block);
    f.decode(bytes.data(), decoded.data(), f.block);
    for (std::int64_t i = 0; i < f.block; ++i) {
      const double off =
          static_cast<double>(x[b + i]) - static_cast<double>(decoded[static_cast<std::size_t>(i)]);
      out.lost += off * off;
    }
  }
  return out;
}

}  // namespace

std::optional<std::int64_t> first_beyond(std::span<const float> weights, std::int64_t cols,
                                         FormatId format) {
  const QuantFormat& f = format::info(format);
  const auto n = static_cast<std::int64_t>(weights.size());
  const std::int64_t step = f.grid != nullptr ? f.grid->sub : 1;
  for (std::int64_t row = 0; row < n; row += cols) {
    // What a scale itself can be is within its reach.
    if (largest_of(weights.data() + row, cols) <= f.largest) continue;
    for (std::int64_t i = row; i < row + cols; i += step) {
      const float* x = weights.data() + i;
      const int at = f.grid != nullptr ? first_beyond_in(f, x) : std::fabs(*x) > f.largest ? 0 : -1;
      if (at >= 0) return i + at;
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> first_beyond(std::span<const float> weights, std::int64_t cols,
                                         FormatId format, core::ThreadPool& pool) {
  if (weights.empty()) return std::nullopt;
  std::atomic<std::int64_t> first = std::numeric_limits<std::int64_t>::max();
  pool.split(static_cast<std::int64_t>(weights.size()) / cols, 1,
             [&](std::int64_t begin, std::int64_t end) {
               const auto at =
                   first_beyond(weights.subspan(static_cast<std::size_t>(begin * cols),
                                                static_cast<std::size_t>((end - begin) * cols)),
                                cols, format);
               if (!at) return;
               std::int64_t before = first.load();
               while (begin * cols + *at < before &&
                      !first.compare_exchange_weak(before, begin * cols + *at)) {
               }
             });
  if (first == std::numeric_limits<std::int64_t>::max()) return std::nullopt;
  return first.load();
}

std::string beyond_text(std::span<const float> weights, std::int64_t at, std::int64_t cols,
                        std::int64_t first_row, FormatId format) {
  const std::int64_t row = at / cols, column = at % cols;
  std::string others;
  for (const QuantFormat& f : format::all_formats())
    if (cols % f.block == 0 && holds(f, weights.data() + row * cols + column / f.block * f.block))
      others += (others.empty() ? "" : ", ") + std::string(f.name);
  std::ostringstream text;
  text << "weight [" << first_row + row << ", " << column << "] is "
       << weights[static_cast<std::size_t>(at)] << ", beyond what " << format::info(format).name
       << " can store; formats that can: " << others;
  return text.str();
}

void Magnitudes::add(std::span<const float> weights) {
  constexpr std::size_t kRun = 32;  // at most the block of any format with scales
  for (std::size_t begin = 0; begin < weights.size(); begin += kRun) {
    const std::size_t n = std::min(kRun, weights.size() - begin);
    float squares[4] = {}, largest = 0;
    for (std::size_t i = begin; i < begin + n; ++i) {
      squares[i % 4] += weights[i] * weights[i];
      largest = std::max(largest, std::fabs(weights[i]));
    }
    largest_ = std::max(largest_, largest);
    const auto energy = static_cast<double>((squares[0] + squares[1]) + (squares[2] + squares[3]));
    energy_ += energy;
    if (largest < 1 && largest > 0)
      of_power_[static_cast<std::size_t>(std::clamp(-std::ilogb(largest) - 1, 0, kPowers - 1))] +=
          energy;
  }
}

bool Magnitudes::surely_held(FormatId format) const {
  const QuantFormat& f = format::info(format);
  if (largest_ > f.largest) return false;
  if (f.least == 0) return true;
  const float least = f.least * reach_of(f);
  // Squares may be too small for a float.
  if (largest_ > 0 && largest_ < least) return false;
  double below = 0;
  for (int i = std::max(0, -std::ilogb(least) - 1); i < kPowers; ++i)
    below += of_power_[static_cast<std::size_t>(i)];
  return below <= format::kLostShare * energy_;
}

void RangeCheck::add(std::span<const float> weights, core::ThreadPool& pool) {
  const std::int64_t rows = static_cast<std::int64_t>(weights.size()) / cols_;
  if (const auto at = first_beyond(weights, cols_, format_, pool); at && beyond_.empty())
    beyond_ = beyond_text(weights, *at, cols_, rows_, format_);
  rows_ += rows;
  const QuantFormat& f = format::info(format_);
  if (f.least == 0 || !beyond_.empty()) return;
  const float least = f.least * reach_of(f);
  std::vector<Loss> of_rows(static_cast<std::size_t>(rows));
  pool.split(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::byte> bytes;
    std::vector<float> decoded;
    for (std::int64_t r = begin; r < end; ++r)
      of_rows[static_cast<std::size_t>(r)] =
          loss_of(weights.data() + r * cols_, cols_, f, least, bytes, decoded);
  });
  for (const Loss& l : of_rows) {
    energy_ += l.energy;
    lost_ += l.lost;
  }
}

std::string RangeCheck::refusal() const {
  if (!beyond_.empty()) return beyond_;
  if (lost_ <= format::kLostShare * energy_) return "";
  std::ostringstream text;
  text << "the weights are too small for " << format::info(format_).name << ", whose float16 "
       << (grid_of(format_) != nullptr ? "scales" : "values") << " would lose "
       << 100 * lost_ / energy_ << " % of their energy; use bf16 or f32 for this tensor";
  return text.str();
}

}  // namespace espalier::quant
