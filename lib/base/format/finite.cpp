// SPDX-License-Identifier: Apache-2.0
// Searches stored bytes for NaN and infinity, format by format.
#include "format/finite.h"

#include <algorithm>
#include <cstring>

#include "format/blocks/blocks.h"

namespace espalier::format {
namespace {

// Where the binary16 scales of a block lie.
struct Scales {
  std::size_t d;
  bool two;  // a second scale follows directly
};
template <typename Block>
constexpr Scales scales_in() {
  if constexpr (requires { Block::dmin; }) {
    static_assert(offsetof(Block, dmin) == offsetof(Block, d) + 2);
    return {offsetof(Block, d), true};
  } else if constexpr (requires { Block::m; }) {
    static_assert(offsetof(Block, m) == offsetof(Block, d) + 2);
    return {offsetof(Block, d), true};
  } else {
    return {offsetof(Block, d), false};
  }
}
Scales scales_of(FormatId id) {
  switch (id) {
    case FormatId::q4_0:
      return scales_in<BlockQ4_0>();
    case FormatId::q4_1:
      return scales_in<BlockQ4_1>();
    case FormatId::q5_0:
      return scales_in<BlockQ5_0>();
    case FormatId::q5_1:
      return scales_in<BlockQ5_1>();
    case FormatId::q8_0:
      return scales_in<BlockQ8_0>();
    case FormatId::q2_0:
      return scales_in<BlockQ2_0>();
    case FormatId::q2_k:
      return scales_in<BlockQ2_K>();
    case FormatId::q3_k:
      return scales_in<BlockQ3_K>();
    case FormatId::q4_k:
      return scales_in<BlockQ4_K>();
    case FormatId::q5_k:
      return scales_in<BlockQ5_K>();
    case FormatId::q6_k:
      return scales_in<BlockQ6_K>();
    case FormatId::iq4_nl:
      return scales_in<BlockIQ4_NL>();
    case FormatId::iq4_xs:
      return scales_in<BlockIQ4_XS>();
    case FormatId::f32:
    case FormatId::f16:
    case FormatId::bf16:
      break;
  }
  return {0, false};
}

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
std::int64_t first_value_in(const std::byte* bytes, std::int64_t n) {
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

std::int64_t first_not_finite(FormatId id, std::span<const std::byte> bytes) {
  const QuantFormat& f = info(id);
  const std::int64_t blocks = static_cast<std::int64_t>(bytes.size()) / f.block_bytes;
  switch (id) {
    case FormatId::f32:
      return first_value_in<std::uint32_t, 0x7F800000u>(bytes.data(), blocks);
    case FormatId::f16:
      return first_value_in<std::uint16_t, 0x7C00>(bytes.data(), blocks);
    case FormatId::bf16:
      return first_value_in<std::uint16_t, 0x7F80>(bytes.data(), blocks);
    default:
      break;
  }
  const Scales scales = scales_of(id);
  std::int64_t first = -1;
  for (int s = 0; s < (scales.two ? 2 : 1); ++s) {
    const std::int64_t at = first_scale_in(
        bytes.data() + scales.d + 2 * static_cast<std::size_t>(s), blocks, f.block_bytes);
    if (at >= 0 && (first < 0 || at < first)) first = at;
  }
  return first < 0 ? -1 : first * f.block;
}

}  // namespace espalier::format
