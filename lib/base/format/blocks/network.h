// SPDX-License-Identifier: Apache-2.0
// Batcher's odd-even merge sort (Batcher 1968, "Sorting networks and their applications") as a list
// of comparators. It takes no branches, so that lanes of a vector sort side by side.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace espalier::format {

// Puts the larger key first; equal keys stay.
struct Comparator {
  std::uint8_t first, second;
};

// Calls f(first, second) for n keys, a power of two, of which runs of `sorted` are sorted already.
template <typename F>
constexpr void each_comparator(int n, int sorted, F&& f) {
  for (int p = sorted; p < n; p *= 2)
    for (int k = p; k >= 1; k /= 2)
      for (int j = k % p; j + k < n; j += 2 * k)
        for (int i = 0; i < std::min(k, n - j - k); ++i)
          if ((i + j) / (2 * p) == (i + j + k) / (2 * p)) f(i + j, i + j + k);
}

template <int kN, int kSorted>
constexpr auto comparators() {
  constexpr auto kCount = [] {
    std::size_t count = 0;
    each_comparator(kN, kSorted, [&](int, int) { ++count; });
    return count;
  }();
  std::array<Comparator, kCount> out{};
  std::size_t at = 0;
  each_comparator(kN, kSorted, [&](int first, int second) {
    out[at++] = {static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(second)};
  });
  return out;
}

}  // namespace espalier::format
