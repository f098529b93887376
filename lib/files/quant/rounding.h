// SPDX-License-Identifier: Apache-2.0
// From float weights to the bytes of a format.
// - nearest: rounds each block by itself.
// - imatrix: blocks minimise the activation-weighted squared error.
// - gptq: rounds columns in order and corrects the rest of the row through the inverse Cholesky
//   factor of the inputs' second moments, on the grid of the GGUF format (Frantar, Ashkboos,
//   Hoefler, Alistarh 2022, arXiv 2210.17323).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "format/quant_format.h"
#include "quant/imatrix.h"

namespace espalier::quant {

// Rows are rounded in chunks of this size, each chunk by itself. So a matrix may be rounded in
// pieces that are whole chunks.
constexpr std::int64_t kRowChunk = 64;

enum class Rounding : std::uint8_t { nearest, imatrix, gptq };
Rounding rounding_by_name(std::string_view name);  // Error(usage) for other names
std::string_view rounding_name(Rounding rounding);

class GptqFactor;
// Keeps the factorization of the last gram. Consecutive matrices with the same input (q, k, v;
// gate, up) share it.
class FactorCache {
 public:
  std::shared_ptr<const GptqFactor> get(const TensorStatistics& statistics, core::ThreadPool& pool);

 private:
  std::shared_ptr<const std::vector<float>> gram_;
  std::shared_ptr<const GptqFactor> factor_;
};

// How to round. `statistics` may be null for nearest; Error(usage) when the rounding needs it.
struct RoundingBy {
  Rounding rounding = Rounding::nearest;
  const TensorStatistics* statistics = nullptr;
  FactorCache* cache = nullptr;  // of gptq
};
// weights[rows * cols] -> bytes of the matrix in `format`. Float formats are always rounded to
// nearest. Error(input) for weights that are not finite, or that the format cannot hold (range.h).
// The result does not depend on the number of threads.
std::vector<std::byte> round_matrix(std::span<const float> weights, std::int64_t rows,
                                    std::int64_t cols, format::FormatId format,
                                    const RoundingBy& by, core::ThreadPool& pool);

// Rounding to nearest, or by importance where there are statistics, without checks and threads: for
// callers that check weights as they read them, and have threads of their own.
class PlainRounding {
 public:
  // Error(input) for statistics of another width. A float format needs none.
  PlainRounding(std::int64_t cols, format::FormatId format, const TensorStatistics* statistics);
  // Groups of so many rows fill the lanes of the search (format/lanes/lanes.h). Results do not
  // depend on it.
  std::int64_t rows_together() const { return together_; }
  // Whole rows; `out` takes the bytes of as many. Thread-safe.
  void encode(std::span<const float> weights, std::byte* out) const;

 private:
  std::int64_t cols_;
  const format::QuantFormat& codec_;
  std::int64_t together_;
  std::vector<float> importance_;  // of rows_together() rows; empty: nearest
};

std::vector<float> decode_matrix(std::span<const std::byte> bytes, std::int64_t rows,
                                 std::int64_t cols, format::FormatId format);
// The output error per token that rounding causes: sum over rows of (w - q)^T G (w - q) / tokens,
// with G the gram or its diagonal.
double output_error(std::span<const float> weights, std::span<const float> rounded,
                    std::int64_t rows, std::int64_t cols, const TensorStatistics& statistics);

}  // namespace espalier::quant
