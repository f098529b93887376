// What plain loops need to be turned into vector code on the machine at hand: ESP_VECTOR_CLONES compiles a function once per x86-64
// level and picks at load time (the build itself targets the baseline), and an exponential without branches or calls.
// Only functions that hold the whole loop may carry the macro, never lambdas; what they call must be ESP_ALWAYS_INLINE.
#pragma once
#include <bit>
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define ESP_VECTOR_CLONES __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define ESP_VECTOR_CLONES
#endif
#define ESP_ALWAYS_INLINE inline __attribute__((always_inline))

namespace espalier::model {

// Independent partial sums of a reduction: written out, since the compiler may not reorder float additions itself.
inline constexpr std::int64_t kLanes = 32;

// exp(x) within 2 ulp for x in [-87, 88]; below: 0 (down to exp(-87) nothing is subnormal), above: clamped to exp(88). NaN gives NaN.
ESP_ALWAYS_INLINE float fast_exp(float x) {
  const float clamped = x > 88.0f ? 88.0f : x;
  const float scaled = clamped < -87.0f ? -87.0f * 1.44269504f : clamped * 1.44269504f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
  const float biased = scaled + kRound;
  const float n = biased - kRound;
  const float inside = clamped < -87.0f ? -87.0f : clamped;
  const float r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;  // Cody-Waite: ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(biased) - std::bit_cast<std::uint32_t>(kRound)) << 23;
  const float value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + exponent);
  return clamped < -87.0f ? 0.0f : value;
}

ESP_ALWAYS_INLINE float sum_lanes(const float* lanes) {
  float total = 0;
  for (std::int64_t i = 0; i < kLanes; ++i) total += lanes[i];
  return total;
}

}  // namespace espalier::model
