// SPDX-License-Identifier: Apache-2.0
// Rounds a matrix to a format in chunks of rows, on all threads.
#include "quant/rounding.h"

#include <Eigen/Core>
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/profile.h"
#include "format/finite.h"
#include "format/lanes/lanes.h"
#include "quant/gptq.h"
#include "quant/range.h"

namespace espalier::quant {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::int64_t kRows = 64;  // rows decoded or encoded together

void check_weights(std::span<const float> weights, std::int64_t rows, std::int64_t cols,
                   format::FormatId format, core::ThreadPool& pool) {
  ESP_CHECK(rows >= 0 && cols >= 0 && static_cast<std::int64_t>(weights.size()) == rows * cols,
            internal, "rounding: ", weights.size(), " weights for ", rows, " x ", cols);
  const std::int64_t at = format::first_not_finite(format::FormatId::f32, std::as_bytes(weights));
  ESP_CHECK(at < 0, input, "rounding: weight [", at / cols, ", ", at % cols, "] is ",
            weights[static_cast<std::size_t>(at)]);
  if (const auto beyond = first_beyond(weights, cols, format, pool))
    core::fail(core::ErrorKind::input,
               "rounding: ", beyond_text(weights, *beyond, cols, 0, format));
}

std::vector<float> importance_of(const TensorStatistics& statistics, std::int64_t cols) {
  ESP_CHECK(static_cast<std::int64_t>(statistics.sum_squares.size()) == cols, input,
            "calibration statistics are of ", statistics.sum_squares.size(),
            " channels, the matrix has ", cols, " columns");
  std::vector<float> importance;
  importance.reserve(statistics.sum_squares.size());
  for (const double s : statistics.sum_squares)
    importance.push_back(static_cast<float>(s / statistics.tokens));
  return importance;
}

struct Rows {
  std::span<const float> weights;
  std::int64_t rows, cols;
};
// Each row is rounded under `importance`, or to nearest where that is empty. The encoder takes so
// many rows at once that they are whole groups of blocks (format/lanes/lanes.h).
void encode_rows(const Rows& of, const std::vector<float>& importance,
                 const format::QuantFormat& codec, core::ThreadPool& pool,
                 std::vector<std::byte>& out) {
  const auto [weights, rows, cols] = of;
  const std::int64_t row_bytes = format::matrix_bytes(codec.id, 1, cols),
                     together = format::kLanes /
                                std::gcd(cols / codec.block, std::int64_t{format::kLanes});
  std::vector<float> repeated;
  for (std::int64_t i = 0; i < together; ++i)
    repeated.insert(repeated.end(), importance.begin(), importance.end());
  pool.split(rows, together, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t step = importance.empty() ? end - begin : together;
    for (std::int64_t r = begin; r < end; r += step)
      codec.encode(weights.data() + r * cols, importance.empty() ? nullptr : repeated.data(),
                   out.data() + r * row_bytes, std::min(step, end - r) * cols);
  });
}

}  // namespace

Rounding rounding_by_name(std::string_view name) {
  if (name == "nearest") return Rounding::nearest;
  if (name == "imatrix") return Rounding::imatrix;
  if (name == "gptq") return Rounding::gptq;
  core::fail(core::ErrorKind::usage, "unknown rounding \"", name,
             "\": expected nearest, imatrix or gptq");
}
std::string_view rounding_name(Rounding rounding) {
  switch (rounding) {
    case Rounding::nearest:
      return "nearest";
    case Rounding::imatrix:
      return "imatrix";
    case Rounding::gptq:
      return "gptq";
  }
  return "";
}

std::shared_ptr<const GptqFactor> FactorCache::get(const TensorStatistics& statistics,
                                                   core::ThreadPool& pool) {
  if (factor_ == nullptr || gram_ != statistics.gram) {
    const core::Section section("factorization");
    factor_ = std::make_shared<const GptqFactor>(statistics, GptqOptions{}, &pool);
    gram_ = statistics.gram;
  }
  return factor_;
}

std::vector<std::byte> round_matrix(std::span<const float> weights, std::int64_t rows,
                                    std::int64_t cols, format::FormatId format,
                                    const RoundingBy& by, core::ThreadPool& pool) {
  const core::Section section("rounding");
  const auto [rounding, statistics, cache] = by;
  const format::QuantFormat& codec = format::info(format);
  std::vector<std::byte> out(static_cast<std::size_t>(format::matrix_bytes(format, rows, cols)));
  check_weights(weights, rows, cols, format, pool);
  ESP_CHECK(rounding == Rounding::nearest || codec.is_float() || statistics != nullptr, usage,
            rounding_name(rounding), " rounding needs calibration statistics");
  if (rounding == Rounding::gptq && codec.grid != nullptr) {
    FactorCache local;
    return gptq_round(weights, rows, cols, codec,
                      *(cache != nullptr ? *cache : local).get(*statistics, pool), pool);
  }
  std::vector<float> importance;
  if (rounding != Rounding::nearest && !codec.is_float())
    importance = importance_of(*statistics, cols);
  encode_rows({weights, rows, cols}, importance, codec, pool, out);
  return out;
}

std::vector<float> decode_matrix(std::span<const std::byte> bytes, std::int64_t rows,
                                 std::int64_t cols, format::FormatId format) {
  ESP_CHECK(static_cast<std::int64_t>(bytes.size()) == format::matrix_bytes(format, rows, cols),
            internal, "decode_matrix: ", bytes.size(), " bytes");
  std::vector<float> out(static_cast<std::size_t>(rows * cols));
  format::info(format).decode(bytes.data(), out.data(), rows * cols);
  return out;
}

double output_error(std::span<const float> weights, std::span<const float> rounded,
                    std::int64_t rows, std::int64_t cols, const TensorStatistics& statistics) {
  ESP_CHECK(static_cast<std::int64_t>(statistics.sum_squares.size()) == cols, input,
            "calibration statistics are of ", statistics.sum_squares.size(),
            " channels, the matrix has ", cols, " columns");
  const Eigen::Map<const Matrix> w(weights.data(), rows, cols), q(rounded.data(), rows, cols);
  double sum = 0;
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t n = std::min(kRows, rows - begin);
    const Matrix d = w.middleRows(begin, n) - q.middleRows(begin, n);
    if (statistics.gram != nullptr) {
      const Matrix dg = d * Eigen::Map<const Matrix>(statistics.gram->data(), cols, cols);
      sum += dg.cwiseProduct(d).cast<double>().sum();
    } else {
      const Eigen::Map<const Eigen::VectorXd> diagonal(statistics.sum_squares.data(), cols);
      sum += (d.cast<double>().array().square().matrix() * diagonal).sum();
    }
  }
  return sum / statistics.tokens;
}

}  // namespace espalier::quant
