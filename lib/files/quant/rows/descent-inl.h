// SPDX-License-Identifier: Apache-2.0
// Coordinate descent on a sub-block. Included inside a namespace of one instruction set.

template <typename Levels>
struct Visit {
  const DescentLanes& of;
  const Levels& levels;
  int n, row;
  V g[kMaxSub], e[kMaxSub], level[kMaxSub], step, offset;

  ESP_INLINE Visit(const DescentLanes& lanes, const Levels& by, int first)
      : of(lanes), levels(by), n(lanes.grid.sub), row(first), step{}, offset{} {
    for (int l = 0; l < kWidth; ++l) {
      step[l] = of.scale[row + l].step;
      offset[l] = of.scale[row + l].offset;
    }
    for (int i = 0; i < n; ++i) {
      g[i] = load(of.g + i * kRowChunk + row);
      level[i] = load_bytes(of.level + i * kRowChunk + row);
      e[i] = V{};
    }
  }
  ESP_INLINE void write() const {
    for (int i = 0; i < n; ++i) {
      store(of.e + i * kRowChunk + row, e[i]);
      store_bytes(of.level + i * kRowChunk + row, level[i]);
    }
  }
  // A change of this size or less is float noise of the running gradient.
  ESP_INLINE V noise(float h) const { return kWorthwhile * h * step * step; }

  ESP_APART void improve_levels() {
    const V inverse = inverse_step_of(step);
    const I usable = inverse != V{};
    if (!any(usable)) return;
    for (int i = 0; i < n; ++i) {
      const float hii = of.h[i * (n + 1)];
      // The target zeroes the gradient.
      const V target = (step * level[i] + offset) + g[i] / hii;
      const V next = levels((target - offset) * inverse);
      const V by = step * (next - level[i]);
      const I change = usable & (next != level[i]) & (by * (2.0f * g[i] - by * hii) > noise(hii));
      if (!any(change)) continue;
      level[i] = select(change, next, level[i]);
      const V changed = select(change, by, V{});
      e[i] += changed;
      for (int k = 0; k < n; ++k) g[k] -= changed * of.h[i * n + k];
    }
  }

  // Gradient and curvature in (step, offset).
  struct Slope {
    V ga{}, gb{}, aa{}, ab{}, bb{};
  };
  ESP_APART Slope slope() const {
    Slope s;
    for (int i = 0; i < n; i += 4) {
      V ha[4] = {}, hb[4] = {};
      for (int k = 0; k < n; ++k) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const float h = of.h[(i + j) * n + k];
          ha[j] += h * level[k];
          hb[j] += h;
        }
      }
      for (int j = 0; j < 4; ++j) {
        const V l = level[i + j];
        s.ga += g[i + j] * l;
        s.gb += g[i + j];
        s.aa += ha[j] * l;
        s.ab += hb[j] * l;
        s.bb += hb[j];
      }
    }
    return s;
  }

  // Takes the stored scale nearest to the least-squares scale for the current levels, where it
  // lowers the error.
  ESP_APART void improve_scale() {
    const Slope s = slope();
    const V determinant = s.aa * s.bb - s.ab * s.ab;
    I both = determinant > 1e-4f * s.aa * s.bb;
    if (!of.grid.affine) both = I{};
    const V a = select(both, (s.ga * s.bb - s.gb * s.ab) / determinant, s.ga / s.aa),
            b = select(both, (s.gb * s.aa - s.ga * s.ab) / determinant, V{});
    const I possible = both | (s.aa > V{});
    SubScale next[kWidth];
    V next_step = step, next_offset = offset;
    for (int l = 0; l < kWidth; ++l) {
      if (possible[l] == 0) continue;
      next[l] = stored_scale(of.grid, of.block[row + l], step[l] + a[l], offset[l] + b[l]);
      next_step[l] = next[l].step;
      next_offset[l] = next[l].offset;
    }
    const V da = next_step - step, db = next_offset - offset;
    const V gain =
        2.0f * (da * s.ga + db * s.gb) - (da * da * s.aa + 2.0f * da * db * s.ab + db * db * s.bb);
    const I take = possible & (gain > noise(of.h[0]));
    if (!any(take)) return;
    V by[kMaxSub];
    for (int i = 0; i < n; ++i) {
      const V change = (next_step * level[i] + next_offset) - (step * level[i] + offset);
      by[i] = select(take, change, V{});
      e[i] += by[i];
    }
    for (int k = 0; k < n; k += 4) {
      V four[4] = {g[k], g[k + 1], g[k + 2], g[k + 3]};
      for (int i = 0; i < n; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) four[j] -= by[i] * of.h[i * n + k + j];
      }
      for (int j = 0; j < 4; ++j) g[k + j] = four[j];
    }
    step = select(take, next_step, step);
    offset = select(take, next_offset, offset);
    for (int l = 0; l < kWidth; ++l)
      if (take[l] != 0) of.scale[row + l] = next[l];
  }
};

template <typename Levels>
void descend_by(const DescentLanes& of) {
  const Levels levels(of.grid);
  for (int row = 0; row < kRowChunk; row += kWidth) {
    Visit<Levels> visit(of, levels, row);
    visit.improve_levels();
    visit.improve_scale();
    visit.improve_levels();
    visit.write();
  }
}
inline void descend(const DescentLanes& of) {
  if (of.grid.codebook == nullptr) return descend_by<EvenGrid>(of);
  if (of.grid.codebook == &format::kIq4) return descend_by<Iq4Grid>(of);
  descend_by<CodebookGrid>(of);
}
