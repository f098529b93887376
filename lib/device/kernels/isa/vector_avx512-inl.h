// SPDX-License-Identifier: Apache-2.0
// 512-bit vectors: 16 floats, 16 rows of interleaved weights. Included inside an unnamed namespace.
struct V {
  using F = __m512;
  using I = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kBytes = 64;
  static constexpr int kRegisters = 32;
  // Zen 4 reads a stream of whole lines faster without prefetching: Q6_K 30 GB/s per core instead
  // of 21.
  static constexpr int kPrefetchAhead = 0;

  // floats
  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static F load_bf16(const void* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
  }
  static F set1_f16(std::uint16_t x) {
    return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(x)));
  }
  static void store_f16(std::uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, 0));
  }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F abs(F a) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7FFFFFFF)));
  }
  static F round(F a) { return _mm512_roundscale_ps(a, 0x08); }
  static F swap_pairs(F a) {
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_slli_epi64(_mm512_castps_si512(a), 32),
                                               _mm512_srli_epi64(_mm512_castps_si512(a), 32)));
  }
  static F alternate(F a, F b, F c) {  // even lanes a*b - c, odd lanes a*b + c
    const __m512i even = _mm512_set1_epi64(0x0000000080000000LL);
    return fma(a, b, _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(c), even)));
  }
  static F duplicate(const float* p) {  // p0 p0 p1 p1 ... p7 p7
    const __m512i x =
        _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_or_si512(x, _mm512_slli_epi64(x, 32)));
  }
  static __m256 low(F v) { return _mm512_castps512_ps256(v); }
  static __m256 high(F v) {
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  }
  static float sum(F v) {
    const __m256 h = _mm256_add_ps(low(v), high(v));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static void sum4(F a, F b, F c, F d, float* out) {
    const __m256 ab =
        _mm256_hadd_ps(_mm256_add_ps(low(a), high(a)), _mm256_add_ps(low(b), high(b)));
    const __m256 cd =
        _mm256_hadd_ps(_mm256_add_ps(low(c), high(c)), _mm256_add_ps(low(d), high(d)));
    const __m256 x = _mm256_hadd_ps(ab, cd);
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
  }
  static float largest(F v) {
    const __m256 h = _mm256_max_ps(low(v), high(v));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }
  // x * 2^n for n in [-126, 127]
  static F scale2(F x, I n) {
    return mul(
        x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23)));
  }

  // integers
  static I izero() { return _mm512_setzero_si512(); }
  static I iload(const void* p) { return _mm512_loadu_si512(p); }
  static void istore(void* p, I x) { _mm512_storeu_si512(p, x); }
  static I broadcast32(const void* p) {
    int x;
    __builtin_memcpy(&x, p, 4);
    return _mm512_set1_epi32(x);
  }
  static I iset8(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static I iset32(int x) { return _mm512_set1_epi32(x); }
  static I iand(I a, I b) { return _mm512_and_si512(a, b); }
  static I ior(I a, I b) { return _mm512_or_si512(a, b); }
  static I ixor(I a, I b) { return _mm512_xor_si512(a, b); }
  template <int kN>
  static I left16(I a) {
    return _mm512_slli_epi16(a, kN);
  }
  template <int kN>
  static I right16(I a) {
    return _mm512_srli_epi16(a, kN);
  }
  template <int kN>
  static I left32(I a) {
    return _mm512_slli_epi32(a, kN);
  }
  template <int kN>
  static I right32(I a) {
    return _mm512_srli_epi32(a, kN);
  }
  template <int kN>
  static I right32_signed(I a) {
    return _mm512_srai_epi32(a, kN);
  }
  template <int kN>
  static I right16_signed(I a) {
    return _mm512_srai_epi16(a, kN);
  }
  static I load_int8(const void* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }  // 16 bytes
  static I load_u16(const void* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static I lookup16(const std::int8_t* table, I index) {  // byte = table[index byte], indices 0..15
    return _mm512_shuffle_epi8(
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), index);
  }
  static I sub8(I a, I b) { return _mm512_sub_epi8(a, b); }
  static I add16(I a, I b) { return _mm512_add_epi16(a, b); }
  static I add32(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub32(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I mul32(I a, I b) { return _mm512_mullo_epi32(a, b); }
  static I madd16(I a, I b) { return _mm512_madd_epi16(a, b); }
  static I maddubs(I u, I s) { return _mm512_maddubs_epi16(u, s); }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm512_cvtps_epi32(a); }
  // Within each 32-bit lane: byte i of the result = byte (pattern >> 8i) & 3.
  static I shuffle_bytes(I a, std::uint32_t pattern) {
    const __m512i lane = _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0);
    return _mm512_shuffle_epi8(
        a, _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(pattern))));
  }
  static void store_int8(std::int8_t* p, I a) {  // 16 lanes, saturated
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a));
  }

  // Products of 8-bit weights and 8-bit activations need one unsigned operand. It is |w|, and the
  // activation takes the sign.
  struct Signed {
    I magnitude;
    __mmask64 negative;
  };
  static Signed split_sign(I w) { return {_mm512_abs_epi8(w), _mm512_movepi8_mask(w)}; }
  static I apply_sign(I x, const Signed& w) {
    return _mm512_mask_sub_epi8(x, w.negative, izero(), x);
  }
};
