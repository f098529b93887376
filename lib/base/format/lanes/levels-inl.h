// SPDX-License-Identifier: Apache-2.0
// Nearest levels of each lane. Included inside a namespace of one instruction set.

// Integers low .. high. Ties round up. NaN gives the lowest.
struct EvenLevels {
  V low, top;

  ESP_INLINE EvenLevels(int lowest, int highest)
      : low(splat(static_cast<float>(lowest))), top(splat(static_cast<float>(highest - lowest))) {}
  ESP_INLINE V operator()(V v) const {
    v = v - low + 0.5f;
    return truncated(smaller(larger(v, V{}), top)) + low;
  }
};

// The levels kCodebook4. Level k is nearest from twice the distance kFrom[k] above the lowest on.
struct CurveLevels {
  // The index, Codebook::index().
  ESP_INLINE I index(V v) const {
    const V u = 2.0f * (v - splat(kCodebook4[0]));
#ifdef ESP_AVX2
    I k = (u >= splat(from(8))) & splat_int(8);
    const V fours = {from(4), from(12), 0, 0, 0, 0, 0, 0},
            twos = {from(2), from(6), from(10), from(14), 0, 0, 0, 0},
            ones = {from(1), from(3), from(5), from(7), from(9), from(11), from(13), from(15)};
    k |= (u >= __builtin_ia32_permvarsf256(fours, k >> 3)) & splat_int(4);
    k |= (u >= __builtin_ia32_permvarsf256(twos, k >> 2)) & splat_int(2);
    k |= (u >= __builtin_ia32_permvarsf256(ones, k >> 1)) & splat_int(1);
    return k;
#else
    I k{};
    for (int i = 1; i < 16; ++i) k -= u >= splat(from(i));
    return k;
#endif
  }
  ESP_INLINE V value(I k) const {
#ifdef ESP_AVX2
    const V low = {-127, -104, -83, -65, -49, -35, -22, -10},
            high = {1, 13, 25, 38, 53, 69, 89, 113};
    return select(k > splat_int(7), __builtin_ia32_permvarsf256(high, k),
                  __builtin_ia32_permvarsf256(low, k));
#else
    V out;
    for (int i = 0; i < kWidth; ++i) out[i] = static_cast<float>(kCodebook4[k[i]]);
    return out;
#endif
  }
  ESP_INLINE V operator()(V v) const { return value(index(v)); }

 private:
  static constexpr float from(int k) {
    return static_cast<float>(kCodebook4[k - 1] + kCodebook4[k] - 2 * kCodebook4[0]);
  }
};

// The levels kFp4Levels. They are 1 apart up to 4, then 2 up to 8, then 4.
struct Fp4Levels {
  ESP_INLINE V operator()(V v) const {
    // Codebook::index() sees multiples of one half, rounded down.
    const V halves = truncated(smaller(larger(2.0f * (v + 12.0f), V{}), splat(48))),
            at = 0.5f * halves - 12.0f;
    const I wide = absolute(at) > splat(8), middle = absolute(at) > splat(4);
    const V step = select(wide, splat(4), select(middle, splat(2), splat(1))),
            inverse = select(wide, splat(0.25f), select(middle, splat(0.5f), splat(1)));
    return (truncated(at * inverse + 16.5f) - 16.0f) * step;
  }
  // The index of a level.
  ESP_INLINE I index(V level) const {
    const I size = to_int(absolute(level));
    return size + (size > 4) + (size > 6) + 3 * (size > 8) + (splat_int(8) & (level < V{}));
  }
};
