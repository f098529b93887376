// SPDX-License-Identifier: Apache-2.0
// The error feedback through a sub-block. Included inside a namespace of one instruction set.

constexpr int kTogether = 8;  // vectors whose additions overlap

// The rounding of rows by one candidate.
struct Trial {
  V level[kMaxSub][kTogether], difference[kMaxSub][kTogether], error[kTogether];
};

template <typename Levels>
ESP_INLINE void try_scale(const SweepLanes& of, const Levels& levels, const float* step_of,
                          const float* offset_of, int row, Trial& trial) {
  const int n = of.grid.sub;
  V step[kTogether], offset[kTogether], inverse[kTogether];
  for (int u = 0; u < kTogether; ++u) {
    step[u] = load(step_of + u * kWidth);
    offset[u] = load(offset_of + u * kWidth);
    inverse[u] = inverse_step_of(step[u]);
    trial.error[u] = V{};
  }
  for (int i = 0; i < n; ++i) {
    V w[kTogether];
#pragma GCC unroll 8
    for (int u = 0; u < kTogether; ++u) w[u] = load(of.w + i * kRowChunk + row + u * kWidth);
    for (int k = 0; k < i; ++k) {
      const V by = splat(of.feedback[i * n + k]);
#pragma GCC unroll 8
      for (int u = 0; u < kTogether; ++u) w[u] -= trial.difference[k][u] * by;
    }
    for (int u = 0; u < kTogether; ++u) {
      const V level = levels((w[u] - offset[u]) * inverse[u]);
      const V difference = w[u] - (step[u] * level + offset[u]);
      trial.level[i][u] = level;
      trial.difference[i][u] = difference;
      trial.error[u] += difference * difference * of.weight[i];
    }
  }
}

template <typename Levels>
ESP_APART void sweep_rows(const SweepLanes& of, const Levels& levels, int row) {
  const int n = of.grid.sub;
  Trial trial, best;
  I chosen[kTogether];
  for (int c = 0; c < of.candidates; ++c) {
    const std::int64_t at = c * kRowChunk + row;
    try_scale(of, levels, of.step + at, of.offset + at, row, c == 0 ? best : trial);
    for (int u = 0; u < kTogether; ++u) {
      if (c == 0) {
        chosen[u] = I{};
        continue;
      }
      I count;
      std::memcpy(&count, of.count + row + u * kWidth, sizeof count);
      const I better = (count > splat_int(c)) & (trial.error[u] < best.error[u]);
      if (!any(better)) continue;
      chosen[u] = select(better, splat_int(c), chosen[u]);
      best.error[u] = select(better, trial.error[u], best.error[u]);
      for (int i = 0; i < n; ++i) {
        best.level[i][u] = select(better, trial.level[i][u], best.level[i][u]);
        best.difference[i][u] = select(better, trial.difference[i][u], best.difference[i][u]);
      }
    }
  }
  for (int u = 0; u < kTogether; ++u) {
    const int r = row + u * kWidth;
    std::memcpy(of.best + r, &chosen[u], sizeof chosen[u]);
    for (int i = 0; i < n; ++i) {
      store(of.difference + i * kRowChunk + r, best.difference[i][u]);
      store_bytes(of.level + i * kRowChunk + r, best.level[i][u]);
    }
  }
}

template <typename Levels>
void sweep_by(const SweepLanes& of) {
  static_assert(kRowChunk % (kTogether * kWidth) == 0);
  const Levels levels(of.grid);
  for (int row = 0; row < kRowChunk; row += kTogether * kWidth) sweep_rows(of, levels, row);
}
inline void sweep(const SweepLanes& of) {
  if (of.grid.codebook == nullptr) return sweep_by<EvenGrid>(of);
  if (of.grid.codebook == &format::kIq4) return sweep_by<Iq4Grid>(of);
  sweep_by<CodebookGrid>(of);
}
