// SPDX-License-Identifier: Apache-2.0
// Searches stored bytes for exponents of NaN and infinity.
#include "format/finite.h"

#include <algorithm>
#include <cstring>

namespace espalier::format {
namespace {

// An exponent of all ones means NaN or infinity. A piece is first searched for any such value and
// then for its position, so that the usual case is one loop without branches.
constexpr std::int64_t kPiece = 4096;

// `any(begin, end)` may look at several values at once.
template <typename Bits, Bits kExponent, typename Any>
std::int64_t first_in(const std::byte* bytes, std::int64_t n, std::int64_t stride, const Any& any) {
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    const std::int64_t end = std::min(n, begin + kPiece);
    if (!any(begin, end)) continue;
    for (std::int64_t i = begin; i < end; ++i) {
      Bits bits;
      std::memcpy(&bits, bytes + i * stride, sizeof bits);
      if ((bits & kExponent) == kExponent) return i;
    }
  }
  return -1;
}

// Scales, `stride` bytes apart.
std::int64_t first_scale_in(const std::byte* bytes, std::int64_t n, std::int64_t stride) {
  constexpr std::uint16_t kExponent = 0x7C00;
  return first_in<std::uint16_t, kExponent>(bytes, n, stride,
                                            [&](std::int64_t begin, std::int64_t end) {
                                              bool any = false;
                                              for (std::int64_t i = begin; i < end; ++i) {
                                                std::uint16_t bits;
                                                std::memcpy(&bits, bytes + i * stride, sizeof bits);
                                                any |= (bits & kExponent) == kExponent;
                                              }
                                              return any;
                                            });
}

// Values side by side, a word of them at a time: without its sign, a value's distance to the
// exponent of ones is 0 or more, and adding 0111...1 to it sets the top bit unless it is 0.
template <typename Bits, Bits kExponent>
std::int64_t first_value_in(std::span<const std::byte> values) {
  const std::byte* bytes = values.data();
  const auto n = static_cast<std::int64_t>(values.size() / sizeof(Bits));
  constexpr std::int64_t kLanes = sizeof(std::uint64_t) / sizeof(Bits);
  constexpr std::uint64_t kOnes = ~std::uint64_t{0} / static_cast<Bits>(~Bits{0}),
                          kMask = kOnes * kExponent, kTop = kOnes << (8 * sizeof(Bits) - 1);
  return first_in<Bits, kExponent>(
      bytes, n, sizeof(Bits), [&](std::int64_t begin, std::int64_t end) {
        std::uint64_t finite = kTop;
        std::int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) {
          std::uint64_t word;
          std::memcpy(&word, bytes + i * static_cast<std::int64_t>(sizeof(Bits)), sizeof word);
          finite &= ((word & kMask) ^ kMask) + ~kTop;
        }
        return finite != kTop || i < end;  // a tail is looked at one by one
      });
}

}  // namespace

std::int64_t first_f32_not_finite(std::span<const std::byte> bytes) {
  return first_value_in<std::uint32_t, 0x7F800000u>(bytes);
}
std::int64_t first_f16_not_finite(std::span<const std::byte> bytes) {
  return first_value_in<std::uint16_t, 0x7C00>(bytes);
}
std::int64_t first_bf16_not_finite(std::span<const std::byte> bytes) {
  return first_value_in<std::uint16_t, 0x7F80>(bytes);
}

std::int64_t first_block_not_finite(std::span<const std::byte> bytes, std::size_t block_bytes,
                                    std::size_t at, int n) {
  const auto blocks = static_cast<std::int64_t>(bytes.size() / block_bytes);
  std::int64_t first = -1;
  for (int i = 0; i < n; ++i) {
    const std::int64_t found = first_scale_in(bytes.data() + at + 2 * static_cast<std::size_t>(i),
                                              blocks, static_cast<std::int64_t>(block_bytes));
    if (found >= 0 && (first < 0 || found < first)) first = found;
  }
  return first;
}

}  // namespace espalier::format
