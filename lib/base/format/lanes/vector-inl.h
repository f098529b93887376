// SPDX-License-Identifier: Apache-2.0
// Vectors of ESP_WIDTH floats and of as many doubles, in the notation that GCC and clang share.
// Products and sums are never fused. Included inside a namespace of one instruction set, which may
// define ESP_AVX2. Lambdas would not get the instruction set, so there are none.

#define ESP_INLINE inline __attribute__((always_inline))
#define ESP_APART __attribute__((noinline))  // called from several places: the program stays small

constexpr int kWidth = ESP_WIDTH;
using V = float __attribute__((vector_size(4 * ESP_WIDTH)));
using I = std::int32_t __attribute__((vector_size(4 * ESP_WIDTH)));  // integers and masks
using HalfV = float __attribute__((vector_size(2 * ESP_WIDTH)));
using HalfD = double __attribute__((vector_size(4 * ESP_WIDTH)));
using HalfM = std::int64_t __attribute__((vector_size(4 * ESP_WIDTH)));

// The doubles of a vector of floats, and masks of them, in two halves.
struct D {
  HalfD low, high;
};
struct M {
  HalfM low, high;
};

ESP_INLINE V load(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
ESP_INLINE void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
// Less 0, every number stays what it is.
ESP_INLINE V splat(float x) { return x - V{}; }
ESP_INLINE I splat_int(std::int32_t x) { return x - I{}; }
ESP_INLINE D splat_double(double x) { return {x - HalfD{}, x - HalfD{}}; }

ESP_INLINE V select(I mask, V a, V b) { return mask ? a : b; }
ESP_INLINE I select(I mask, I a, I b) { return mask ? a : b; }
ESP_INLINE D select(M mask, D a, D b) {
  return {mask.low ? a.low : b.low, mask.high ? a.high : b.high};
}
ESP_INLINE V absolute(V v) {
  return __builtin_bit_cast(V, __builtin_bit_cast(I, v) & splat_int(0x7FFFFFFF));
}
ESP_INLINE I is_finite(V v) { return absolute(v) <= splat(std::numeric_limits<float>::max()); }
ESP_INLINE I to_int(V v) { return __builtin_convertvector(v, I); }
ESP_INLINE V to_float(I v) { return __builtin_convertvector(v, V); }

// larger() and smaller(): the second where one is NaN. truncated(): of magnitudes below 2^31.
#ifdef ESP_AVX2
ESP_INLINE V larger(V a, V b) { return __builtin_ia32_maxps256(a, b); }
ESP_INLINE V smaller(V a, V b) { return __builtin_ia32_minps256(a, b); }
ESP_INLINE V truncated(V v) { return __builtin_ia32_roundps256(v, 3); }
#define ESP_EACH_LOW 0, 1, 2, 3
#define ESP_EACH_HIGH 4, 5, 6, 7
#define ESP_EACH_EVEN 0, 2, 4, 6, 8, 10, 12, 14
ESP_INLINE bool any(I mask) { return __builtin_ia32_movmskps256(__builtin_bit_cast(V, mask)) != 0; }
#else
ESP_INLINE V larger(V a, V b) { return a > b ? a : b; }
ESP_INLINE V smaller(V a, V b) { return a < b ? a : b; }
ESP_INLINE V truncated(V v) { return to_float(to_int(v)); }
#define ESP_EACH_LOW 0, 1
#define ESP_EACH_HIGH 2, 3
#define ESP_EACH_EVEN 0, 2, 4, 6
ESP_INLINE bool any(I mask) {
  std::int32_t all = 0;
  for (int i = 0; i < kWidth; ++i) all |= mask[i];
  return all != 0;
}
#endif

ESP_INLINE D wide(V v) {
  return {__builtin_convertvector(__builtin_shufflevector(v, v, ESP_EACH_LOW), HalfD),
          __builtin_convertvector(__builtin_shufflevector(v, v, ESP_EACH_HIGH), HalfD)};
}
ESP_INLINE V narrow(D v) {
  const HalfV low = __builtin_convertvector(v.low, HalfV),
              high = __builtin_convertvector(v.high, HalfV);
  return __builtin_shufflevector(low, high, ESP_EACH_LOW, ESP_EACH_HIGH);
}
// Each mask's lower word.
ESP_INLINE I narrow(M m) {
  return __builtin_shufflevector(__builtin_bit_cast(I, m.low), __builtin_bit_cast(I, m.high),
                                 ESP_EACH_EVEN);
}
#undef ESP_EACH_LOW
#undef ESP_EACH_HIGH
#undef ESP_EACH_EVEN

ESP_INLINE D operator+(D a, D b) { return {a.low + b.low, a.high + b.high}; }
ESP_INLINE D operator-(D a, D b) { return {a.low - b.low, a.high - b.high}; }
ESP_INLINE D operator*(D a, D b) { return {a.low * b.low, a.high * b.high}; }
ESP_INLINE D operator/(D a, D b) { return {a.low / b.low, a.high / b.high}; }
ESP_INLINE M operator>(D a, D b) { return {a.low > b.low, a.high > b.high}; }
ESP_INLINE M operator<(D a, D b) { return {a.low < b.low, a.high < b.high}; }
ESP_INLINE M operator==(D a, D b) { return {a.low == b.low, a.high == b.high}; }
ESP_INLINE M operator&(M a, M b) { return {a.low & b.low, a.high & b.high}; }
ESP_INLINE M operator|(M a, M b) { return {a.low | b.low, a.high | b.high}; }
ESP_INLINE M operator~(M a) { return {~a.low, ~a.high}; }

// inverse() of blocks/codec.h.
ESP_INLINE V inverse_of(V d) {
  const V id = 1.0f / d;
  return select(is_finite(id), id, V{});
}

// A binary16 number of each lane: its bits, and what they decode to.
struct StoredHalf {
  I bits;
  V value;
};
ESP_INLINE StoredHalf stored_half(V v) {
  StoredHalf out{};
  for (int i = 0; i < kWidth; ++i) {
    const std::uint16_t bits = scale_bits(v[i]);
    out.bits[i] = bits;
    out.value[i] = core::half_to_float(bits);
  }
  return out;
}
