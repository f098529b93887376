// SPDX-License-Identifier: Apache-2.0
// Loops in vector code for the machine at hand. ESP_VECTOR_CLONES compiles a function once per
// x86-64 level and picks a version at load time, while the build itself targets the baseline. Only
// functions that hold the whole loop carry the macro, never lambdas. Functions that they call are
// ESP_ALWAYS_INLINE.
//
// Float8 is eight floats, which the compiler maps to one AVX register or two SSE or NEON registers.
// Loops are written in Float8 because the auto-vectorizer gives up on clamps and may not reorder
// the additions of a sum.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

// The warning is about functions that return Float8, all of which are inlined.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define ESP_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ESP_VECTOR_CLONES
#endif
#define ESP_ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

namespace espalier::model {

typedef float Float8 __attribute__((vector_size(32)));
typedef std::uint32_t Bits8 __attribute__((vector_size(32)));
inline constexpr std::int64_t kWidth = 8;

ESP_ALWAYS_INLINE Float8 load8(const float* p) {
  Float8 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
ESP_ALWAYS_INLINE void store8(float* p, const Float8& v) { std::memcpy(p, &v, sizeof v); }

ESP_ALWAYS_INLINE float sum8(const Float8& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// exp(x) within 2 ulp for x in [-87, 88]. Outside, x is clamped to that range. NaN gives NaN.
ESP_ALWAYS_INLINE Float8 fast_exp(const Float8& x) {
  const Float8 zero = {};
  const Float8 below = x > 88.0f ? zero + 88.0f : x;
  const Float8 inside = below < -87.0f ? zero - 87.0f : below;
  // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits.
  constexpr float kRound = 12582912.0f;
  const Float8 biased = inside * 1.44269504f + kRound;
  const Float8 n = biased - kRound;
  // Cody-Waite: ln 2 in two parts.
  const Float8 r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;
  Float8 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Bits8 exponent = (std::bit_cast<Bits8>(biased) - std::bit_cast<std::uint32_t>(kRound))
                         << 23;
  return std::bit_cast<Float8>(std::bit_cast<Bits8>(p) + exponent);
}
// For the values after the last whole Float8.
ESP_ALWAYS_INLINE float fast_exp(float x) {
  const Float8 all = Float8{} + x;
  return fast_exp(all)[0];
}

// Independent partial sums of plain loops, in a form that the auto-vectorizer accepts.
inline constexpr std::int64_t kLanes = 32;
ESP_ALWAYS_INLINE float sum_lanes(const float* lanes) {
  float total = 0;
  for (std::int64_t i = 0; i < kLanes; ++i) total += lanes[i];
  return total;
}

}  // namespace espalier::model
