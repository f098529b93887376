// SPDX-License-Identifier: Apache-2.0
// nearest_level() of grid.h in each lane, for each kind of grid. Included inside a namespace of one
// instruction set.

struct EvenGrid {
  V low, high;
  explicit EvenGrid(const Grid& grid)
      : low(splat(static_cast<float>(grid.low))), high(splat(static_cast<float>(grid.high))) {}
  ESP_INLINE V operator()(V v) const {
    return truncated(smaller(larger(v, low), high) + 512.5f) - 512.0f;
  }
};
struct Iq4Grid {
  explicit Iq4Grid(const Grid&) {}
  ESP_INLINE V operator()(V v) const { return CurveLevels()(v); }
};
// Any other codebook: its levels in order, and where each becomes the nearest, as in
// format/lanes/levels-inl.h.
struct CodebookGrid {
  float level[16], from[16];

  explicit CodebookGrid(const Grid& grid) {
    for (int i = 0; i < 16; ++i) level[i] = static_cast<float>(grid.codebook->level(i));
    std::sort(level, level + 16);
    for (int i = 1; i < 16; ++i) from[i] = level[i - 1] + level[i] - 2 * level[0];
  }
  ESP_INLINE V operator()(V v) const {
    const V u = 2.0f * (v - level[0]);
    V out = splat(level[0]);
    for (int i = 1; i < 16; ++i) out = select(u >= splat(from[i]), splat(level[i]), out);
    return out;
  }
};

// Levels as stored between the steps.
using Bytes = std::int8_t __attribute__((vector_size(ESP_WIDTH)));
ESP_INLINE V load_bytes(const std::int8_t* p) {
  Bytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return to_float(__builtin_convertvector(bytes, I));
}
ESP_INLINE void store_bytes(std::int8_t* p, V v) {
  const Bytes bytes = __builtin_convertvector(to_int(v), Bytes);
  std::memcpy(p, &bytes, sizeof bytes);
}

ESP_INLINE V inverse_step_of(V step) {
  const V inverse = 1.0f / step;
  return select((inverse > splat(3e38f)) | (inverse < splat(-3e38f)), V{}, inverse);
}
