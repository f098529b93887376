// SPDX-License-Identifier: Apache-2.0
// The time that gptq takes for a weight grows with the columns of its matrix: it is taken to be
// that of `kSearch` columns more than there are. Samples have at most kMostColumns of them.
#include "timing/rounding.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/rng.h"
#include "quant/gptq.h"
#include "timing/sample.h"

namespace espalier::timing {
namespace {

constexpr std::int64_t kMostColumns = 1536;  // whole super-blocks
constexpr std::int64_t kFewInputs = 256;
constexpr double kSearch = 300;  // columns
constexpr std::int64_t kMostRows = 4096;

std::vector<float> random_values(std::int64_t n) {
  core::Rng rng(1);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& v : out) {  // nearly normal
    float sum = -2;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(rng.below(65536)) * 0x1p-16f;
    v = 0.02f * sum;
  }
  return out;
}

// Of inputs that are not quite independent.
quant::TensorStatistics statistics(std::int64_t n) {
  auto gram = std::make_shared<std::vector<float>>(static_cast<std::size_t>(n * n), 0.1f);
  for (std::int64_t i = 0; i < n; ++i) (*gram)[static_cast<std::size_t>(i * (n + 1))] = 1;
  return {std::vector<double>(static_cast<std::size_t>(n), 1.0), gram, 1};
}

}  // namespace

Item round(std::int64_t rows, std::int64_t cols, format::FormatId format, quant::Rounding rounding,
           const Place& place) {
  const bool gptq = rounding == quant::Rounding::gptq && !format::info(format).is_float();
  const std::int64_t sample_cols = gptq ? std::min(cols, kMostColumns) : cols;
  const auto of_weight = [gptq](std::int64_t width) { return gptq ? real(width) + kSearch : 1.0; };
  const std::string name(format::info(format).name);
  return {
      "rounding",
      std::string(quant::rounding_name(rounding)) + " " + name +
          (gptq ? ", " + std::to_string(sample_cols) + " columns" : ""),
      real(rows) * real(cols) * of_weight(cols),
      gptq                                   ? 5e9
      : rounding == quant::Rounding::imatrix ? 5e6
                                             : 50e6,
      [=](double seconds) {
        core::ThreadPool pool(place.threads);
        const quant::TensorStatistics of = statistics(sample_cols);
        quant::FactorCache cache;
        if (gptq) static_cast<void>(cache.get(of, pool));
        const std::int64_t few = std::min(rows, quant::kRowChunk * pool.size());
        return speed(
            seconds, few, std::max(few, std::min(rows, kMostRows)),
            [&](std::int64_t n) {
              return [&, n, values = random_values(n * sample_cols)] {
                static_cast<void>(quant::round_matrix(values, n, sample_cols, format,
                                                      {rounding, &of, &cache}, pool));
              };
            },
            [&](std::int64_t n) { return real(n) * real(sample_cols) * of_weight(sample_cols); });
      }};
}

Item factorize(std::int64_t n, const Place& place) {
  const auto cube = [](std::int64_t size) { return real(size) * real(size) * real(size); };
  return {"factorization", "factorization of " + std::to_string(n), cube(n), 20e9,
          [=](double seconds) {
            core::ThreadPool pool(place.threads);
            return speed(
                seconds, kFewInputs, n,
                [&](std::int64_t size) {
                  return [&pool, of = statistics(size)] {
                    static_cast<void>(quant::FactorCache().get(of, pool));
                  };
                },
                cube);
          }};
}

Item decode(std::int64_t values, format::FormatId format) {
  return {"decoding", "decoding " + std::string(format::info(format).name), real(values), 400e6,
          [=](double seconds) {
            constexpr std::int64_t kCols = 4096;
            return real(kCols) * speed(seconds, 16, 4096, [&](std::int64_t rows) {
                     const auto bytes =
                         static_cast<std::size_t>(format::matrix_bytes(format, rows, kCols));
                     return [=, stored = std::vector<std::byte>(bytes)] {
                       static_cast<void>(quant::decode_matrix(stored, rows, kCols, format));
                     };
                   });
          }};
}

}  // namespace espalier::timing
