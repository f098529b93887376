// SPDX-License-Identifier: Apache-2.0
// Which values the scales of a format reach, and how much a matrix of small weights would lose.
#include "quant/range.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
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

// The largest magnitude and the sum of squares of a run of values. Four lanes of each.
struct RunSums {
  float largest, squares;
};
RunSums sums_of(const float* x, std::int64_t n) {
  using Four = float __attribute__((vector_size(16)));
  using Bits = std::int32_t __attribute__((vector_size(16)));
  Four largest{}, squares{};
  const auto take = [&](const float* four) {
    Four v;
    std::memcpy(&v, four, sizeof v);
    const Four size = std::bit_cast<Four>(std::bit_cast<Bits>(v) & 0x7FFFFFFF);
    largest = size > largest ? size : largest;
    squares += v * v;
  };
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) take(x + i);
  if (i < n) {
    float rest[4] = {};
    std::copy(x + i, x + n, rest);
    take(rest);
  }
  return {std::max(std::max(largest[0], largest[1]), std::max(largest[2], largest[3])),
          (squares[0] + squares[1]) + (squares[2] + squares[3])};
}

// What rounding loses of the values below `least` among whole blocks.
double lost_of(const float* x, std::int64_t n, const QuantFormat& f, float least) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(n / f.block * f.block_bytes));
  std::vector<float> decoded(static_cast<std::size_t>(n));
  f.encode(x, nullptr, bytes.data(), n);
  f.decode(bytes.data(), decoded.data(), n);
  double lost = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (std::fabs(x[i]) >= least) continue;
    const double off =
        static_cast<double>(x[i]) - static_cast<double>(decoded[static_cast<std::size_t>(i)]);
    lost += off * off;
  }
  return lost;
}

struct Loss {
  float largest = 0;
  double energy = 0, lost = 0;
};
// Of a row, in runs that are a block each. The values of a float format lose each by itself, but
// nothing that counts beside one that is a thousand times larger than `least`.
Loss loss_of(const float* x, std::int64_t n, const QuantFormat& f, float least) {
  const std::int64_t run = f.is_float() ? 32 : f.block;
  const float enough = f.is_float() ? 1024 * least : least;
  Loss out;
  for (std::int64_t b = 0; b < n; b += run) {
    const std::int64_t length = std::min(run, n - b);
    const RunSums sums = sums_of(x + b, length);
    out.largest = std::max(out.largest, sums.largest);
    out.energy += static_cast<double>(sums.squares);
    if (sums.largest < enough && sums.largest > 0) out.lost += lost_of(x + b, length, f, least);
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

void RangeCheck::add(std::span<const float> weights) {
  const QuantFormat& f = format::info(format_);
  const float least = f.least * reach_of(f);
  for (std::size_t at = 0; at < weights.size(); at += static_cast<std::size_t>(cols_)) {
    const Loss loss = loss_of(weights.data() + at, cols_, f, least);
    if (!(loss.largest <= f.largest) && beyond_.empty())
      if (const auto first =
              first_beyond(weights.subspan(at, static_cast<std::size_t>(cols_)), cols_, format_))
        beyond_ = beyond_text(weights.subspan(at), *first, cols_, rows_, format_);
    ++rows_;
    if (f.least == 0) continue;
    energy_ += loss.energy;
    lost_ += loss.lost;
  }
}

void RangeCheck::add(std::span<const float> weights, core::ThreadPool& pool) {
  constexpr std::int64_t kPieceRows = 64;  // sums are the same for any number of threads
  const std::int64_t rows = static_cast<std::int64_t>(weights.size()) / cols_;
  std::vector<RangeCheck> pieces;
  for (std::int64_t row = 0; row < rows; row += kPieceRows)
    pieces.emplace_back(cols_, format_, rows_ + row);
  pool.split(static_cast<std::int64_t>(pieces.size()), 1,
             [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t p = begin; p < end; ++p) {
                 const std::int64_t row = p * kPieceRows, n = std::min(kPieceRows, rows - row);
                 pieces[static_cast<std::size_t>(p)].add(weights.subspan(
                     static_cast<std::size_t>(row * cols_), static_cast<std::size_t>(n * cols_)));
               }
             });
  for (const RangeCheck& piece : pieces) add(piece);
}

void RangeCheck::add(const RangeCheck& next) {
  if (beyond_.empty()) beyond_ = next.beyond_;
  rows_ = next.rows_;
  energy_ += next.energy_;
  lost_ += next.lost_;
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
