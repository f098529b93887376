// SPDX-License-Identifier: Apache-2.0
// Times a sample of work: as much of it as fits into the time. Internal to lib/pipeline/timing.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>

namespace espalier::timing {

inline constexpr std::int64_t kFewTokens = 64;  // the least of a sample

inline double real(std::int64_t n) { return static_cast<double>(n); }
inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
template <typename F>
double seconds_of(F&& f) {
  const double begin = seconds_now();
  f();
  return std::max(seconds_now() - begin, 1e-9);
}

// prepare(n) makes what is needed for a sample of size n and returns a function that runs it;
// amount(n) is the work in it. The size grows from `smallest` towards `largest` while there is
// time. Returns amount per second of the fastest run: what else the machine does at that moment
// says nothing of the hours to come. The first run of a size is counted only where there is no time
// for another one.
template <typename Prepare, typename Amount>
double speed(double seconds, std::int64_t smallest, std::int64_t largest, Prepare&& prepare,
             Amount&& amount) {
  const double end = seconds_now() + seconds;
  std::int64_t n = std::min(smallest, largest);
  for (;;) {
    auto run = prepare(n);
    const double first = seconds_of(run);
    if (seconds_now() + first > end) return amount(n) / first;
    double best = seconds_of(run);
    const double room =
        (end - seconds_now()) / 4;  // two runs of the next size, and its preparation
    const double grown = static_cast<double>(n) * std::min(16.0, room / best);
    if (n < largest && grown > 1.5 * static_cast<double>(n)) {
      n = std::min(largest, static_cast<std::int64_t>(grown));
      continue;
    }
    for (int runs = 1; seconds_now() + best < end && runs < 100; ++runs)
      best = std::min(best, seconds_of(run));
    return amount(n) / best;
  }
}
// Where the amount is the size.
template <typename Prepare>
double speed(double seconds, std::int64_t smallest, std::int64_t largest, Prepare&& prepare) {
  return speed(seconds, smallest, largest, prepare,
               [](std::int64_t n) { return static_cast<double>(n); });
}

}  // namespace espalier::timing
