// SPDX-License-Identifier: Apache-2.0
// 256-bit vectors: 8 floats, 8 rows of interleaved weights. Included inside an unnamed namespace.
struct V {
  using F = __m256;
  using I = __m256i;
  static constexpr int kLanes = 8;
  static constexpr int kBytes = 32;
  static constexpr int kRegisters = 16;
  static constexpr int kPrefetchAhead = 2304;

  // floats
  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F load_f16(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static F load_bf16(const void* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))), 16));
  }
  static F set1_f16(std::uint16_t x) {
    return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(x)));
  }
  static void store_f16(std::uint16_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, 0));
  }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F abs(F a) { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF))); }
  static F round(F a) { return _mm256_round_ps(a, 0x08); }  // to nearest even, no exceptions
  static F swap_pairs(F a) { return _mm256_permute_ps(a, 0xB1); }
  static F alternate(F a, F b, F c) {
    return _mm256_fmaddsub_ps(a, b, c);
  }  // even lanes a*b - c, odd lanes a*b + c
  static F duplicate(const float* p) {  // p0 p0 p1 p1 p2 p2 p3 p3
    const __m256 x = _mm256_castps128_ps256(_mm_loadu_ps(p));
    return _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  }
  static float sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static void sum4(F a, F b, F c, F d, float* out) {
    const __m256 x = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
  }
  static float largest(F v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }
  // x * 2^n for n in [-126, 127]
  static F scale2(F x, I n) {
    return mul(
        x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)));
  }

  // integers
  static I izero() { return _mm256_setzero_si256(); }
  static I iload(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void istore(void* p, I x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  static I broadcast32(const void* p) {
    int x;
    __builtin_memcpy(&x, p, 4);
    return _mm256_set1_epi32(x);
  }
  static I iset8(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
  static I iset32(int x) { return _mm256_set1_epi32(x); }
  static I iand(I a, I b) { return _mm256_and_si256(a, b); }
  static I ior(I a, I b) { return _mm256_or_si256(a, b); }
  static I ixor(I a, I b) { return _mm256_xor_si256(a, b); }
  template <int kN>
  static I left16(I a) {
    return _mm256_slli_epi16(a, kN);
  }
  template <int kN>
  static I right16(I a) {
    return _mm256_srli_epi16(a, kN);
  }
  template <int kN>
  static I left32(I a) {
    return _mm256_slli_epi32(a, kN);
  }
  template <int kN>
  static I right32(I a) {
    return _mm256_srli_epi32(a, kN);
  }
  template <int kN>
  static I right32_signed(I a) {
    return _mm256_srai_epi32(a, kN);
  }
  template <int kN>
  static I right16_signed(I a) {
    return _mm256_srai_epi16(a, kN);
  }
  static I load_int8(const void* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  }  // 8 bytes
  static I load_u16(const void* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static I lookup16(const std::int8_t* table, I index) {  // byte = table[index byte], indices 0..15
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))),
        index);
  }
  static I sub8(I a, I b) { return _mm256_sub_epi8(a, b); }
  static I add16(I a, I b) { return _mm256_add_epi16(a, b); }
  static I add32(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub32(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I mul32(I a, I b) { return _mm256_mullo_epi32(a, b); }
  static I madd16(I a, I b) { return _mm256_madd_epi16(a, b); }
  static I maddubs(I u, I s) { return _mm256_maddubs_epi16(u, s); }
  static F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm256_cvtps_epi32(a); }
  // Within each 32-bit lane: byte i of the result = byte (pattern >> 8i) & 3.
  static I shuffle_bytes(I a, std::uint32_t pattern) {
    const __m256i lane = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C, 0, 0x04040404,
                                           0x08080808, 0x0C0C0C0C);
    return _mm256_shuffle_epi8(
        a, _mm256_add_epi32(lane, _mm256_set1_epi32(static_cast<int>(pattern))));
  }
  static void store_int8(std::int8_t* p, I a) {  // 8 lanes, saturated
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }

  // Products of 8-bit weights and 8-bit activations need one unsigned operand. It is |w|, and the
  // activation takes the sign.
  struct Signed {
    I magnitude, sign;
  };
  static Signed split_sign(I w) { return {_mm256_abs_epi8(w), w}; }
  static I apply_sign(I x, const Signed& w) { return _mm256_sign_epi8(x, w.sign); }
};
