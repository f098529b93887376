// SPDX-License-Identifier: Apache-2.0
// F16: IEEE binary16 (1 sign, 5 exponent, 10 mantissa bits), little-endian, one value a block.
// Rounds to nearest even. Magnitudes of 65520 and above become infinity, as IEEE arithmetic says.
// Callers that must not store infinity check first.
#include <bit>

#include "format/blocks/codec.h"
#include "format/lanes/region.h"

namespace espalier::format {
namespace {

// core::half_to_float() and core::float_to_half() without branches, so that loops become vectors.
inline __attribute__((always_inline)) float widened(std::uint16_t half) {
  const std::uint32_t size = half & 0x7FFFu,
                      sign = static_cast<std::uint32_t>(half & 0x8000u) << 16,
                      subnormal = std::bit_cast<std::uint32_t>(
                          static_cast<float>(static_cast<std::int32_t>(size)) * 0x1p-24f),
                      normal = (size << 13) + (112u << 23), endless = size << 13 | 0x7F800000u;
  return std::bit_cast<float>(sign | (size >= 0x7C00u ? endless
                                      : size < 0x400u ? subnormal
                                                      : normal));
}
inline __attribute__((always_inline)) std::uint16_t narrowed(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto size = static_cast<std::int32_t>(bits & 0x7FFFFFFFu);
  const std::int32_t nan = 0x7E00 | (size >> 13 & 0x3FF),
                     subnormal = std::bit_cast<std::int32_t>(std::bit_cast<float>(size) + 0.5f) -
                                 0x3F000000,
                     normal = (size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13;
  const std::int32_t out = size > 0x7F800000    ? nan
                           : size >= 0x477FF000 ? 0x7C00
                           : size < 0x38800000  ? subnormal
                                                : normal;
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | static_cast<std::uint32_t>(out));
}

inline __attribute__((always_inline)) void widen(const std::byte* source, float* out,
                                                 std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = widened(load_block<std::uint16_t>(source, i));
}
inline __attribute__((always_inline)) void narrow(const float* source, std::byte* out,
                                                  std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) store_block(narrowed(source[i]), out, i);
}

#ifdef ESP_HAS_AVX2_REGION
__attribute__((target("avx2"))) void widen_avx2(const std::byte* source, float* out,
                                                std::int64_t n) {
  widen(source, out, n);
}
__attribute__((target("avx2"))) void narrow_avx2(const float* source, std::byte* out,
                                                 std::int64_t n) {
  narrow(source, out, n);
}
bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}
#endif

void decode(const std::byte* source, float* out, std::int64_t n) {
#ifdef ESP_HAS_AVX2_REGION
  if (has_avx2()) return widen_avx2(source, out, n);
#endif
  widen(source, out, n);
}
void encode(const float* source, const float*, std::byte* out, std::int64_t n) {
#ifdef ESP_HAS_AVX2_REGION
  if (has_avx2()) return narrow_avx2(source, out, n);
#endif
  narrow(source, out, n);
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
