// SPDX-License-Identifier: Apache-2.0
// Rounds a matrix to a format in chunks of rows, on all threads.
#include "quant/rounding.h"

#include <Eigen/Core>
#include <algorithm>
#include <mutex>
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
  std::mutex lock;
  std::int64_t endless = rows * cols, beyond = endless;  // the first of each
  pool.split(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    const auto some = weights.subspan(static_cast<std::size_t>(begin * cols),
                                      static_cast<std::size_t>((end - begin) * cols));
    const std::int64_t at = format::first_not_finite(format::FormatId::f32, std::as_bytes(some));
    const auto out = first_beyond(some, cols, format);
    const std::lock_guard guard(lock);
    if (at >= 0) endless = std::min(endless, begin * cols + at);
    if (out) beyond = std::min(beyond, begin * cols + *out);
  });
  ESP_CHECK(endless == rows * cols, input, "rounding: weight [", endless / cols, ", ",
            endless % cols, "] is ", weights[static_cast<std::size_t>(endless)]);
  if (beyond < rows * cols)
    core::fail(core::ErrorKind::input, "rounding: ", beyond_text(weights, beyond, cols, 0, format));
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

PlainRounding::PlainRounding(std::int64_t cols, format::FormatId format,
                             const TensorStatistics* statistics)
    : cols_(cols),
      codec_(format::info(format)),
      together_(format::kLanes / std::gcd(std::max<std::int64_t>(cols / codec_.block, 1),
                                          std::int64_t{format::kLanes})) {
  if (statistics == nullptr || codec_.is_float()) return;
  const std::vector<float> row = importance_of(*statistics, cols);
  for (std::int64_t i = 0; i < together_; ++i)
    importance_.insert(importance_.end(), row.begin(), row.end());
}

void PlainRounding::encode(std::span<const float> weights, std::byte* out) const {
  const auto n = static_cast<std::int64_t>(weights.size());
  const std::int64_t step = importance_.empty() ? n : together_ * cols_;
  for (std::int64_t at = 0; at < n; at += step)
    codec_.encode(weights.data() + at, importance_.empty() ? nullptr : importance_.data(),
                  out + at / codec_.block * codec_.block_bytes, std::min(step, n - at));
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
  const PlainRounding plain(cols, format, rounding == Rounding::nearest ? nullptr : statistics);
  const std::int64_t row_bytes = format::matrix_bytes(format, 1, cols);
  pool.split(rows, plain.rows_together(), [&](std::int64_t begin, std::int64_t end) {
    plain.encode(weights.subspan(static_cast<std::size_t>(begin * cols),
                                 static_cast<std::size_t>((end - begin) * cols)),
                 out.data() + begin * row_bytes);
  });
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
