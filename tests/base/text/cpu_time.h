// SPDX-License-Identifier: Apache-2.0
// Processor time of this process, for tests of growth: a busy machine does not stretch it.
#pragma once
#include <ctime>

namespace espalier::text {

inline double cpu_seconds_since(std::clock_t start) {
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace espalier::text
