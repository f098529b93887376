// SPDX-License-Identifier: Apache-2.0
// Measures memory bandwidth and the peak of int8 multiply-adds.
#include "kernels/peaks.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "kernels/kernel_table.h"
#include "kernels/packed_memory.h"

namespace espalier::kernels {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBuffer = std::int64_t{256} << 20, kPiece = std::int64_t{1} << 20;
constexpr int kPasses = 8;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

double read_bandwidth(const KernelTable& table, core::ThreadPool& pool) {
  const PackedMemory memory(kBuffer);
  // Pages that were never written are all one page of zeros, which fits in a cache.
  pool.split(kBuffer, kPiece, [&](std::int64_t begin, std::int64_t end) {
    std::fill(memory.data() + begin, memory.data() + end, 1);
  });
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    pool.split(kBuffer, kPiece, [&](std::int64_t begin, std::int64_t end) {
      table.read_bytes(memory.data() + begin, end - begin);
    });
    best = std::max(best, static_cast<double>(kBuffer) / seconds_since(start));
  }
  return best;
}

double int8_peak(const KernelTable& table, core::ThreadPool& pool) {
  std::int64_t rounds = 1024;
  double best = 0;
  for (int pass = 0; pass < kPasses;) {
    std::atomic<std::int64_t> done{0};
    const auto start = Clock::now();
    pool.run([&](int, int) { done += table.multiply_int8(rounds); });
    const double seconds = seconds_since(start);
    if (seconds < 0.03) {  // too short to measure
      rounds *= 4;
      continue;
    }
    best = std::max(best, static_cast<double>(done.load()) / seconds);
    ++pass;
  }
  return best;
}

}  // namespace espalier::kernels
