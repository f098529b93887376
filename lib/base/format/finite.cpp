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
template <typename Bits, Bits kExponent>
std::int64_t first_in(const std::byte* bytes, std::int64_t n, std::int64_t stride) {
  const auto bad = [&](std::int64_t i) {
    Bits bits;
    std::memcpy(&bits, bytes + i * stride, sizeof bits);
    return (bits & kExponent) == kExponent;
  };
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    const std::int64_t end = std::min(n, begin + kPiece);
    bool any = false;
    for (std::int64_t i = begin; i < end; ++i) any |= bad(i);
    if (!any) continue;
    for (std::int64_t i = begin; i < end; ++i)
      if (bad(i)) return i;
  }
  return -1;
}
constexpr std::uint16_t kHalfExponent = 0x7C00, kBf16Exponent = 0x7F80;

}  // namespace

std::int64_t first_not_finite(FormatId id, std::span<const std::byte> bytes) {
  const QuantFormat& f = info(id);
  const std::int64_t blocks = static_cast<std::int64_t>(bytes.size()) / f.block_bytes;
  switch (id) {
    case FormatId::f32:
      return first_in<std::uint32_t, 0x7F800000u>(bytes.data(), blocks, 4);
    case FormatId::f16:
      return first_in<std::uint16_t, kHalfExponent>(bytes.data(), blocks, 2);
    case FormatId::bf16:
      return first_in<std::uint16_t, kBf16Exponent>(bytes.data(), blocks, 2);
    default:
      break;
  }
  const Scales scales = scales_of(id);
  std::int64_t first = -1;
  for (int s = 0; s < (scales.two ? 2 : 1); ++s) {
    const std::int64_t at = first_in<std::uint16_t, kHalfExponent>(
        bytes.data() + scales.d + 2 * static_cast<std::size_t>(s), blocks, f.block_bytes);
    if (at >= 0 && (first < 0 || at < first)) first = at;
  }
  return first < 0 ? -1 : first * f.block;
}

}  // namespace espalier::format
