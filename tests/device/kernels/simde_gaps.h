// SPDX-License-Identifier: Apache-2.0
// What the ISA files use and SIMDe 0.7 lacks, by loops over the lanes. Included by
// kernels/isa/intrinsics.h after SIMDe.
#pragma once
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "kernels/amx_gaps.h"

namespace espalier::kernels::simde_gaps {

template <typename To, typename From>
inline To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(static_cast<void*>(&to), &from, sizeof to);
  return to;
}
template <typename T, int kN>
struct Lanes {
  T v[kN];
};
// out lane i = f(in lane i)
template <typename To, typename T, typename U, int kN, typename From, typename F>
inline To map(const From& from, F f) {
  const auto in = bits<Lanes<T, kN>>(from);
  Lanes<U, kN> out;
  for (int i = 0; i < kN; ++i) out.v[i] = f(in.v[i]);
  return bits<To>(out);
}
inline std::int32_t round_to_int(float x) {
  return std::abs(x) < 2147483648.0f ? static_cast<std::int32_t>(std::nearbyint(x)) : INT32_MIN;
}

}  // namespace espalier::kernels::simde_gaps

#define ESP_GAP(name, ...)             \
  inline auto name(__VA_ARGS__ from) { \
    using namespace espalier::kernels::simde_gaps;

ESP_GAP(esp_mm512_cvtph_ps, simde__m256i)
return map<simde__m512, std::uint16_t, float, 16>(from, espalier::core::half_to_float);
}
inline simde__m256i esp_mm512_cvtps_ph(simde__m512 from, int) {
  using namespace espalier::kernels::simde_gaps;
  return map<simde__m256i, float, std::uint16_t, 16>(from, espalier::core::float_to_half);
}
ESP_GAP(esp_mm512_cvtepi32_ps, simde__m512i)
return map<simde__m512, std::int32_t, float, 16>(
    from, [](std::int32_t x) { return static_cast<float>(x); });
}
ESP_GAP(esp_mm512_cvtps_epi32, simde__m512)
return map<simde__m512i, float, std::int32_t, 16>(from, round_to_int);
}
ESP_GAP(esp_mm512_cvtepu16_epi32, simde__m256i)
return map<simde__m512i, std::uint16_t, std::uint32_t, 16>(
    from, [](std::uint16_t x) { return std::uint32_t{x}; });
}
ESP_GAP(esp_mm512_cvtepi8_epi32, simde__m128i)
return map<simde__m512i, std::int8_t, std::int32_t, 16>(
    from, [](std::int8_t x) { return std::int32_t{x}; });
}
ESP_GAP(esp_mm512_cvtepu32_epi64, simde__m256i)
return map<simde__m512i, std::uint32_t, std::uint64_t, 8>(
    from, [](std::uint32_t x) { return std::uint64_t{x}; });
}
inline simde__m256i esp_mm512_cvtneps_pbh(simde__m512 from) {
  return espalier::kernels::simde_gaps::map<simde__m256i, float, std::uint16_t, 16>(
      from, espalier::core::float_to_bf16);
}
#undef ESP_GAP
inline simde__m512i esp_mm512_srai_epi32(simde__m512i from, int n) {
  return espalier::kernels::simde_gaps::map<simde__m512i, std::int32_t, std::int32_t, 16>(
      from, [n](std::int32_t x) { return x >> n; });
}

#undef _mm512_madd_epi16  // SIMDe's own alias takes four arguments
#define _mm512_madd_epi16 simde_mm512_madd_epi16
#define __mmask64 simde__mmask64
#define _mm512_srai_epi32 esp_mm512_srai_epi32
#define _mm512_cvtph_ps esp_mm512_cvtph_ps
#define _mm512_cvtps_ph esp_mm512_cvtps_ph
#define _mm512_cvtepi32_ps esp_mm512_cvtepi32_ps
#define _mm512_cvtps_epi32 esp_mm512_cvtps_epi32
#define _mm512_cvtepi8_epi32 esp_mm512_cvtepi8_epi32
#define _mm512_cvtepu16_epi32 esp_mm512_cvtepu16_epi32
#define _mm512_cvtepu32_epi64 esp_mm512_cvtepu32_epi64
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#define __m512bh simde__m512bh
#define _mm512_cvtneps_pbh esp_mm512_cvtneps_pbh
