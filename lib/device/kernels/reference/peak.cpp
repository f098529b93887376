// SPDX-License-Identifier: Apache-2.0
// The peak of plain loops (kernels/peaks.h).
#include <cstring>

#include "kernels/reference/reference.h"

namespace espalier::kernels::reference {
namespace {

std::int64_t multiply_int8(std::int64_t rounds) {
  constexpr int kValues = 256;
  unsigned char levels[kValues];
  std::int8_t values[kValues];
  for (int i = 0; i < kValues; ++i) {
    levels[i] = static_cast<unsigned char>(i % 113);
    values[i] = static_cast<std::int8_t>(i % 127);
  }
  std::uint32_t sum = 0;  // may overflow
  for (std::int64_t r = 0; r < rounds; ++r) {
    asm volatile("" ::: "memory");
    for (int i = 0; i < kValues; ++i) sum += static_cast<std::uint32_t>(levels[i] * values[i]);
    asm volatile("" : "+r"(sum));
  }
  return rounds * kValues;
}

void read_bytes(const unsigned char* p, std::int64_t bytes) {
  std::uint64_t seen[4] = {};
  for (std::int64_t at = 0; at < bytes; at += 32) {
    std::uint64_t words[4];
    std::memcpy(words, p + at, 32);
    for (int i = 0; i < 4; ++i) seen[i] |= words[i];
  }
  asm volatile("" ::"r"(seen[0] | seen[1] | seen[2] | seen[3]));
}

}  // namespace

void fill_peak(KernelTable& table) {
  table.multiply_int8 = multiply_int8;
  table.read_bytes = read_bytes;
}

}  // namespace espalier::kernels::reference
