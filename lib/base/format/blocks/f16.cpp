// SPDX-License-Identifier: Apache-2.0
// F16: IEEE binary16 (1 sign, 5 exponent, 10 mantissa bits), little-endian, one value a block.
// Rounds to nearest even. Magnitudes of 65520 and above become infinity, as IEEE arithmetic says.
// Callers that must not store infinity check first.
#include "format/blocks/codec.h"
#include "format/lanes/region.h"

namespace espalier::format {
namespace {

constexpr std::int64_t kTogether = 8;
using Halves = std::uint16_t __attribute__((vector_size(16)));
using Words = std::int32_t __attribute__((vector_size(32)));
using Floats = float __attribute__((vector_size(32)));

// core::half_to_float() of kTogether values.
inline __attribute__((always_inline)) void widen(const std::byte* source, float* out) {
  Halves halves;
  std::memcpy(&halves, source, sizeof halves);
  const Words half = __builtin_convertvector(halves, Words), size = half & 0x7FFF,
              sign = (half & 0x8000) << 16,
              subnormal =
                  __builtin_bit_cast(Words, __builtin_convertvector(size, Floats) * 0x1p-24f),
              normal = (size << 13) + (112 << 23), endless = size << 13 | 0x7F800000;
  const Words bits = sign | (size >= 0x7C00 ? endless : size < 0x400 ? subnormal : normal);
  std::memcpy(out, &bits, sizeof bits);
}
// core::float_to_half() of kTogether values.
inline __attribute__((always_inline)) void narrow(const float* source, std::byte* out) {
  Words bits;
  std::memcpy(&bits, source, sizeof bits);
  const Words size = bits & 0x7FFFFFFF, nan = 0x7E00 | (size >> 13 & 0x3FF),
              subnormal =
                  __builtin_bit_cast(Words, __builtin_bit_cast(Floats, size) + 0.5f) - 0x3F000000,
              normal = (size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13,
              endless = normal * 0 + 0x7C00;
  const Words half = (bits >> 16 & 0x8000) | (size > 0x7F800000    ? nan
                                              : size >= 0x477FF000 ? endless
                                              : size < 0x38800000  ? subnormal
                                                                   : normal);
  const Halves halves = __builtin_convertvector(half, Halves);
  std::memcpy(out, &halves, sizeof halves);
}

inline __attribute__((always_inline)) void widen_all(const std::byte* source, float* out,
                                                     std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kTogether <= n; i += kTogether) widen(source + 2 * i, out + i);
  for (; i < n; ++i) out[i] = core::half_to_float(load_block<std::uint16_t>(source, i));
}
inline __attribute__((always_inline)) void narrow_all(const float* source, std::byte* out,
                                                      std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kTogether <= n; i += kTogether) narrow(source + i, out + 2 * i);
  for (; i < n; ++i) store_block(core::float_to_half(source[i]), out, i);
}

#ifdef ESP_HAS_AVX2_REGION
__attribute__((target("avx2"))) void widen_avx2(const std::byte* source, float* out,
                                                std::int64_t n) {
  widen_all(source, out, n);
}
__attribute__((target("avx2"))) void narrow_avx2(const float* source, std::byte* out,
                                                 std::int64_t n) {
  narrow_all(source, out, n);
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
  widen_all(source, out, n);
}
void encode(const float* source, const float*, std::byte* out, std::int64_t n) {
#ifdef ESP_HAS_AVX2_REGION
  if (has_avx2()) return narrow_avx2(source, out, n);
#endif
  narrow_all(source, out, n);
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
