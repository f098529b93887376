// SPDX-License-Identifier: Apache-2.0
// Speed of y = W x: decode (one token: GB/s of weights) and prefill (64 tokens: multiplications a
// second), for the matrices of a 1.2B Llama and of SmolLM2-135M. ESPALIER_ISA picks the kernels,
// ESPALIER_THREADS the threads (default 2), ESPALIER_MIB how much the matrices of one decode
// benchmark hold together (default 256; 0: one matrix, which a cache may keep: the speed of the
// instructions alone).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/linear.h"

namespace {

using namespace espalier;

struct Shape {
  std::int64_t rows, cols;
};
constexpr Shape kShapes[] = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {128256, 2048},
                             {576, 576},   {1536, 576},  {576, 1536},  {1024, 576}};

int from_environment(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::atoi(value) : otherwise;
}

core::ThreadPool& pool() {
  static core::ThreadPool threads(from_environment("ESPALIER_THREADS", 2), true);
  return threads;
}

void multiply(benchmark::State& state, const format::QuantFormat& f, Shape shape, std::int64_t n) {
  const kernels::KernelTable& table = kernels::select_isa();
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(format::matrix_bytes(f.id, shape.rows, shape.cols)));
  // Speed does not depend on the values: one encoded row, repeated.
  core::Rng rng(1);
  std::vector<float> row(static_cast<std::size_t>(shape.cols));
  for (float& x : row) x = static_cast<float>(rng.normal());
  const std::size_t row_bytes = bytes.size() / static_cast<std::size_t>(shape.rows);
  f.encode(row.data(), nullptr, bytes.data(), shape.cols);
  for (std::size_t r = 1; r < static_cast<std::size_t>(shape.rows); ++r)
    std::copy_n(bytes.data(), row_bytes, bytes.data() + r * row_bytes);

  // Enough copies that the caches cannot hold them, as in a model.
  const std::int64_t copies =
      n == 1
          ? std::max<std::int64_t>(1, (std::int64_t{from_environment("ESPALIER_MIB", 256)} << 20) /
                                          static_cast<std::int64_t>(bytes.size()))
          : 1;
  std::vector<kernels::Matrix> matrices;
  for (std::int64_t i = 0; i < copies; ++i)
    matrices.emplace_back(table, f.id, bytes, shape.rows, shape.cols, pool());
  kernels::Activations in(n, shape.cols);
  std::vector<float> x(static_cast<std::size_t>(n * shape.cols)),
      y(static_cast<std::size_t>(n * shape.rows));
  for (float& v : x) v = static_cast<float>(rng.normal());
  std::size_t next = 0;
  for (auto step : state) {
    in.set(x.data(), n, shape.cols);
    kernels::linear(table, matrices[next], in, y.data(), shape.rows, pool());
    next = (next + 1) % matrices.size();
    benchmark::DoNotOptimize(y.data());
  }
  const double runs = static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(runs * static_cast<double>(bytes.size()) * 1e-9,
                                              benchmark::Counter::kIsRate);
  state.counters["GMAC/s"] = benchmark::Counter(
      runs * static_cast<double>(n * shape.rows * shape.cols) * 1e-9, benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  for (const format::QuantFormat& f : format::all_formats())
    for (const Shape& shape : kShapes)
      for (std::int64_t n : {1, 64}) {
        if (shape.cols % f.block != 0 || (n > 1 && shape.rows > 100000)) continue;
        const std::string name = std::string(f.name) + "/" + std::to_string(shape.rows) + "x" +
                                 std::to_string(shape.cols) + "/tokens:" + std::to_string(n);
        benchmark::RegisterBenchmark(name.c_str(), [&f, shape, n](benchmark::State& state) {
          multiply(state, f, shape, n);
        })->UseRealTime();
      }
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("isa", kernels::isa_name(kernels::select_isa()));
  benchmark::RunSpecifiedBenchmarks();
}
