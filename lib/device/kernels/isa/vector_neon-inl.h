// SPDX-License-Identifier: Apache-2.0
// 128-bit vectors of ARMv8: 4 floats, 4 rows of interleaved weights. Included inside an unnamed
// namespace.
struct V {
  using F = float32x4_t;
  using I = int32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kBytes = 16;
  static constexpr int kRegisters = 32;
  static constexpr int kPrefetchAhead = 2304;

  // floats
  static F zero() { return vdupq_n_f32(0); }
  static F set1(float x) { return vdupq_n_f32(x); }
  static F load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, F x) { vst1q_f32(p, x); }
  static F load_f16(const void* p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(static_cast<const std::uint8_t*>(p))));
  }
  static F load_bf16(const void* p) {
    return vreinterpretq_f32_u32(
        vshll_n_u16(vreinterpret_u16_u8(vld1_u8(static_cast<const std::uint8_t*>(p))), 16));
  }
  static F set1_f16(std::uint16_t x) { return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(x))); }
  static void store_f16(std::uint16_t* p, F x) {
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
  }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F max(F a, F b) { return vmaxq_f32(a, b); }  // max and min give NaN when either is NaN
  static F min(F a, F b) { return vminq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F abs(F a) { return vabsq_f32(a); }
  static F round(F a) { return vrndnq_f32(a); }  // to nearest even
  static F swap_pairs(F a) { return vrev64q_f32(a); }
  static F alternate(F a, F b, F c) {  // even lanes a*b - c, odd lanes a*b + c
    const uint32x4_t even = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000u));
    return fma(a, b, vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(c), even)));
  }
  static F duplicate(const float* p) {  // p0 p0 p1 p1
    const float32x2_t x = vld1_f32(p);
    return vcombine_f32(vdup_lane_f32(x, 0), vdup_lane_f32(x, 1));
  }
  static float sum(F v) { return vaddvq_f32(v); }
  static void sum4(F a, F b, F c, F d, float* out) {
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
  }
  static float largest(F v) { return vmaxvq_f32(v); }
  // x * 2^n for n in [-126, 127]
  static F scale2(F x, I n) {
    return mul(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)));
  }

  // integers: I is the view as 32-bit lanes
  static int8x16_t bytes(I a) { return vreinterpretq_s8_s32(a); }
  static int16x8_t halves(I a) { return vreinterpretq_s16_s32(a); }
  static uint16x8_t unsigned_halves(I a) { return vreinterpretq_u16_s32(a); }
  static I izero() { return vdupq_n_s32(0); }
  static I iload(const void* p) {
    return vreinterpretq_s32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p)));
  }
  static void istore(void* p, I x) {
    vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_s32(x));
  }
  static I broadcast32(const void* p) {
    std::int32_t x;
    __builtin_memcpy(&x, p, 4);
    return vdupq_n_s32(x);
  }
  static I iset8(int x) { return vreinterpretq_s32_s8(vdupq_n_s8(static_cast<std::int8_t>(x))); }
  static I iset32(int x) { return vdupq_n_s32(x); }
  static I iand(I a, I b) { return vandq_s32(a, b); }
  static I ior(I a, I b) { return vorrq_s32(a, b); }
  template <int kN>
  static I left16(I a) {
    return vreinterpretq_s32_s16(vshlq_n_s16(halves(a), kN));
  }
  template <int kN>
  static I right16(I a) {
    return vreinterpretq_s32_u16(vshrq_n_u16(unsigned_halves(a), kN));
  }
  template <int kN>
  static I left32(I a) {
    return vshlq_n_s32(a, kN);
  }
  template <int kN>
  static I right32(I a) {
    return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), kN));
  }
  template <int kN>
  static I right32_signed(I a) {
    return vshrq_n_s32(a, kN);
  }
  template <int kN>
  static I right16_signed(I a) {
    return vreinterpretq_s32_s16(vshrq_n_s16(halves(a), kN));
  }
  static I load_int8(const void* p) {  // 4 bytes
    std::uint32_t x;
    __builtin_memcpy(&x, p, 4);
    return vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(x))));
  }
  static I load_u16(const void* p) {
    return vreinterpretq_s32_u32(
        vmovl_u16(vreinterpret_u16_u8(vld1_u8(static_cast<const std::uint8_t*>(p)))));
  }
  static I lookup16(const std::int8_t* table, I index) {  // byte = table[index byte], indices 0..15
    return vreinterpretq_s32_s8(vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s32(index)));
  }
  static I sub8(I a, I b) { return vreinterpretq_s32_s8(vsubq_s8(bytes(a), bytes(b))); }
  static I add32(I a, I b) { return vaddq_s32(a, b); }
  static I sub32(I a, I b) { return vsubq_s32(a, b); }
  static I mul32(I a, I b) { return vmulq_s32(a, b); }
  static I madd16(I a, I b) {  // sums of two neighbouring 16-bit products
    return vpaddq_s32(vmull_s16(vget_low_s16(halves(a)), vget_low_s16(halves(b))),
                      vmull_high_s16(halves(a), halves(b)));
  }
  static F to_float(I a) { return vcvtq_f32_s32(a); }
  static I to_int(F a) { return vcvtnq_s32_f32(a); }  // to nearest even; NaN gives 0
  // Within each 32-bit lane: byte i of the result = byte (pattern >> 8i) & 3.
  static I shuffle_bytes(I a, std::uint32_t pattern) {
    const uint32x4_t lane = {0, 0x04040404, 0x08080808, 0x0C0C0C0C};
    const uint8x16_t index = vreinterpretq_u8_u32(vaddq_u32(lane, vdupq_n_u32(pattern)));
    return vreinterpretq_s32_u8(vqtbl1q_u8(vreinterpretq_u8_s32(a), index));
  }
  static void store_int8(std::int8_t* p, I a) {  // 4 lanes, saturated
    const int16x4_t words = vqmovn_s32(a);
    const std::int32_t four =
        vget_lane_s32(vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(words, words))), 0);
    __builtin_memcpy(p, &four, 4);
  }
};
