// SPDX-License-Identifier: Apache-2.0
// F16: IEEE binary16 (1 sign, 5 exponent, 10 mantissa bits), little-endian, one value a block.
// Rounds to nearest even. Magnitudes of 65520 and above become infinity, as IEEE arithmetic says.
// Callers that must not store infinity check first.
#include <bit>

#include "format/blocks/codec.h"

namespace espalier::format {
namespace {

// core::half_to_float() without branches, so that loops become vectors.
float widened(std::uint16_t half) {
  const std::uint32_t size = half & 0x7FFFu,
                      sign = static_cast<std::uint32_t>(half & 0x8000u) << 16,
                      subnormal = std::bit_cast<std::uint32_t>(
                          static_cast<float>(static_cast<std::int32_t>(size)) * 0x1p-24f),
                      normal = (size << 13) + (112u << 23), endless = size << 13 | 0x7F800000u;
  return std::bit_cast<float>(sign | (size >= 0x7C00u ? endless
                                      : size < 0x400u ? subnormal
                                                      : normal));
}

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = widened(load_block<std::uint16_t>(source, i));
}
void encode(const float* source, const float*, std::byte* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) store_block(core::float_to_half(source[i]), out, i);
}

}  // namespace

constinit const QuantFormat k_f16 = {.id = FormatId::f16,
                                     .name = "f16",
                                     .gguf_type = 1,
                                     .file_type = 1,
                                     .block_bytes = 2,
                                     .decode = decode,
                                     .encode = encode,
                                     .first_not_finite = first_f16_not_finite};

}  // namespace espalier::format
