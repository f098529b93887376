// SPDX-License-Identifier: Apache-2.0
// Processor time of rounding a random matrix on one thread, and a hash of the bytes:
//
//   rounding_bench ROWS COLUMNS nearest|imatrix|gptq FORMAT...
//
// Processor time says the same beside other work, as far as caches are not shared. The
// factorization that gptq needs comes first, by itself. Two builds are compared by running their
// programs in turn.
#include <ctime>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/rng.h"
#include "quant/gptq.h"
#include "quant/rounding.h"

namespace {

using namespace espalier;

double processor_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Of inputs that share a few directions.
quant::TensorStatistics statistics(std::int64_t cols, bool with_gram) {
  constexpr std::int64_t kShared = 24;
  core::Rng rng(2);
  quant::TensorStatistics out;
  out.tokens = 1000;
  for (std::int64_t i = 0; i < cols; ++i) out.sum_squares.push_back(1000 * (1 + rng.uniform()));
  if (!with_gram) return out;
  std::vector<double> part(static_cast<std::size_t>(cols * kShared));
  for (double& v : part) v = rng.normal();
  std::vector<float> gram(static_cast<std::size_t>(cols * cols));
  for (std::int64_t a = 0; a < cols; ++a)
    for (std::int64_t b = 0; b < cols; ++b) {
      double sum = a == b ? 500 : 0;
      for (std::int64_t k = 0; k < kShared; ++k)
        sum += 1000 / static_cast<double>(kShared) *
               part[static_cast<std::size_t>(a * kShared + k)] *
               part[static_cast<std::size_t>(b * kShared + k)];
      gram[static_cast<std::size_t>(a * cols + b)] = static_cast<float>(sum);
    }
  out.gram = std::make_shared<const std::vector<float>>(std::move(gram));
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: rounding_bench ROWS COLUMNS nearest|imatrix|gptq FORMAT...\n");
    return 2;
  }
  const std::int64_t rows = std::atoll(argv[1]), cols = std::atoll(argv[2]);
  const quant::Rounding rounding = quant::rounding_by_name(argv[3]);
  core::Rng rng(1);
  std::vector<float> weights(static_cast<std::size_t>(rows * cols));
  for (float& v : weights) v = static_cast<float>(0.05 * rng.normal());
  const auto of = statistics(cols, rounding == quant::Rounding::gptq);
  core::ThreadPool pool(1);
  quant::FactorCache cache;
  if (rounding == quant::Rounding::gptq) {
    const double begin = processor_seconds();
    static_cast<void>(cache.get(of, pool));
    std::printf("factorization of %lld: %.1f ms\n", static_cast<long long>(cols),
                1e3 * (processor_seconds() - begin));
  }
  for (int i = 4; i < argc; ++i) {
    const auto format = format::format_by_name(argv[i]);
    if (!format) {
      std::fprintf(stderr, "no format %s\n", argv[i]);
      return 2;
    }
    const double begin = processor_seconds();
    const std::vector<std::byte> bytes =
        quant::round_matrix(weights, rows, cols, *format, {rounding, &of, &cache}, pool);
    const double seconds = processor_seconds() - begin;
    std::uint64_t hash = 14695981039346656037u;  // FNV-1a
    for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
    std::printf("%s %s: %.1f ns a weight, bytes %016llx\n", argv[3], argv[i],
                1e9 * seconds / static_cast<double>(rows * cols),
                static_cast<unsigned long long>(hash));
  }
  return 0;
}
