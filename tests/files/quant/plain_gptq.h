// SPDX-License-Identifier: Apache-2.0
// GPTQ rounding of one row at a time, in plain loops: the definition that the loops over lanes of
// rows are compared with, bit by bit. Every sum has the order that is stated here.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "quant/gptq.h"
#include "quant/grid.h"

namespace espalier::quant {

class PlainRow {
 public:
  PlainRow(const format::QuantFormat& format, const GptqFactor& factor, const float* weights)
      : format_(format),
        grid_(*format.grid),
        factor_(factor),
        cols_(static_cast<std::size_t>(factor.cols())),
        original_(weights, weights + cols_),
        blocks_(cols_ / block()) {}

  std::vector<std::byte> round() {
    sweep();
    descend();
    std::vector<std::byte> out(blocks_.size() * static_cast<std::size_t>(format_.block_bytes));
    for (std::size_t b = 0; b < blocks_.size(); ++b)
      pack_block(format_, blocks_[b],
                 out.data() + b * static_cast<std::size_t>(format_.block_bytes));
    return out;
  }

 private:
  static constexpr std::size_t kBatch = 128;
  static constexpr float kWorthwhile = 1e-5f;

  std::size_t block() const { return static_cast<std::size_t>(grid_.block); }
  std::size_t sub() const { return static_cast<std::size_t>(grid_.sub); }
  float h(std::size_t i, std::size_t k) const { return factor_.h()[i * cols_ + k]; }
  float feedback(std::size_t i, std::size_t k) const { return factor_.feedback()[i * cols_ + k]; }

  // out[k] -= (sum over i of d[i] * matrix[first + i, k]) for from <= k < to.
  static void subtract(const std::vector<float>& d, std::size_t first, const float* matrix,
                       std::size_t cols, std::size_t from, std::size_t to,
                       std::vector<float>& out) {
    for (std::size_t k = from; k < to; ++k) {
      float sum = 0;
      for (std::size_t i = 0; i < d.size(); ++i) sum += d[i] * matrix[(first + i) * cols + k];
      out[k] -= sum;
    }
  }

  // Rounds the sub-block at c with a scale. Returns the weighted sum of squared differences.
  float attempt(const SubScale& scale, const float* w, std::size_t c, std::vector<int>& level,
                std::vector<float>& difference) const {
    std::vector<float> t(w, w + sub());
    const float inverse = inverse_step(scale);
    float error = 0;
    for (std::size_t i = 0; i < sub(); ++i) {
      level[i] = nearest_level(grid_, scale, inverse, t[i]);
      difference[i] = t[i] - grid_value(scale, level[i]);
      error += difference[i] * difference[i] * factor_.weight()[c + i];
      for (std::size_t k = i + 1; k < sub(); ++k) t[k] -= difference[i] * feedback(c + i, c + k);
    }
    return error;
  }

  void sweep() {
    std::vector<float> w = original_;
    for (std::size_t begin = 0; begin < cols_; begin += kBatch) {
      const std::size_t end = std::min(begin + kBatch, cols_);
      std::vector<float> of_batch;
      for (std::size_t c = begin; c < end; c += sub()) {
        GridBlock& to = blocks_[c / block()];
        if (c % block() == 0) to.scale = block_scale(grid_, &w[c], factor_.weight() + c);
        const std::vector<float> d = round_sub_block(to, &w[c], c);
        subtract(d, c, factor_.feedback(), cols_, c + sub(), end, w);
        of_batch.insert(of_batch.end(), d.begin(), d.end());
      }
      subtract(of_batch, begin, factor_.feedback(), cols_, end, cols_, w);
    }
  }

  std::vector<float> round_sub_block(GridBlock& to, const float* w, std::size_t c) const {
    SubScale candidates[kMaxCandidates];
    const int n = scale_candidates(grid_, to.scale, w, factor_.weight() + c, candidates);
    std::vector<int> level(sub());
    std::vector<float> difference(sub()), best_difference;
    float best = 0;
    for (int i = 0; i < n; ++i) {
      const float error = attempt(candidates[i], w, c, level, difference);
      if (i > 0 && !(error < best)) continue;
      best = error;
      best_difference = difference;
      to.sub[c % block() / sub()] = candidates[i];
      for (std::size_t k = 0; k < sub(); ++k)
        to.level[c % block() + k] = static_cast<std::int8_t>(level[k]);
    }
    return best_difference;
  }

  void descend() {
    std::vector<float> r(cols_), g(cols_, 0.0f);
    for (std::size_t c = 0; c < cols_; ++c) {
      const GridBlock& at = blocks_[c / block()];
      r[c] = original_[c] - grid_value(at.sub[c % block() / sub()], at.level[c % block()]);
    }
    for (std::size_t k = 0; k < cols_; ++k)
      for (std::size_t i = 0; i < cols_; ++i) g[k] += r[i] * h(i, k);
    for (int pass = 0; pass < factor_.options().descent_passes; ++pass)
      for (std::size_t c = 0; c < cols_; c += sub()) {
        std::vector<float> local(g.begin() + static_cast<std::ptrdiff_t>(c),
                                 g.begin() + static_cast<std::ptrdiff_t>(c + sub())),
            change(sub(), 0.0f);
        improve_levels(c, local, change);
        improve_scale(c, local, change);
        improve_levels(c, local, change);
        subtract(change, c, factor_.h(), cols_, 0, cols_, g);
      }
  }

  void move(std::size_t c, std::size_t i, float by, std::vector<float>& g,
            std::vector<float>& change) const {
    change[i] += by;
    for (std::size_t k = 0; k < sub(); ++k) g[k] -= by * h(c + i, c + k);
  }

  void improve_levels(std::size_t c, std::vector<float>& g, std::vector<float>& change) {
    GridBlock& at = blocks_[c / block()];
    const SubScale& scale = at.sub[c % block() / sub()];
    std::int8_t* level = at.level + c % block();
    const float inverse = inverse_step(scale);
    if (inverse == 0.0f) return;
    for (std::size_t i = 0; i < sub(); ++i) {
      const float hii = h(c + i, c + i);
      const int l = nearest_level(grid_, scale, inverse, grid_value(scale, level[i]) + g[i] / hii);
      if (l == level[i]) continue;
      const float by = scale.step * static_cast<float>(l - level[i]);
      if (!(by * (2 * g[i] - by * hii) > kWorthwhile * hii * scale.step * scale.step)) continue;
      level[i] = static_cast<std::int8_t>(l);
      move(c, i, by, g, change);
    }
  }

  void improve_scale(std::size_t c, std::vector<float>& g, std::vector<float>& change) {
    GridBlock& at = blocks_[c / block()];
    SubScale& scale = at.sub[c % block() / sub()];
    const std::int8_t* level = at.level + c % block();
    float ga = 0, gb = 0, aa = 0, ab = 0, bb = 0;
    for (std::size_t i = 0; i < sub(); ++i) {
      float ha = 0, hb = 0;
      for (std::size_t k = 0; k < sub(); ++k) {
        ha += h(c + i, c + k) * static_cast<float>(level[k]);
        hb += h(c + i, c + k);
      }
      const auto l = static_cast<float>(level[i]);
      ga += g[i] * l;
      gb += g[i];
      aa += ha * l;
      ab += hb * l;
      bb += hb;
    }
    float a = 0, b = 0;
    const float determinant = aa * bb - ab * ab;
    if (grid_.affine && determinant > 1e-4f * aa * bb) {
      a = (ga * bb - gb * ab) / determinant;
      b = (gb * aa - ga * ab) / determinant;
    } else if (aa > 0) {
      a = ga / aa;
    } else {
      return;
    }
    const SubScale next = stored_scale(grid_, at.scale, scale.step + a, scale.offset + b);
    const float da = next.step - scale.step, db = next.offset - scale.offset;
    const float gain = 2 * (da * ga + db * gb) - (da * da * aa + 2 * da * db * ab + db * db * bb);
    if (!(gain > kWorthwhile * h(c, c) * scale.step * scale.step)) return;
    for (std::size_t i = 0; i < sub(); ++i)
      move(c, i, grid_value(next, level[i]) - grid_value(scale, level[i]), g, change);
    scale = next;
  }

  const format::QuantFormat& format_;
  const Grid& grid_;
  const GptqFactor& factor_;
  std::size_t cols_;
  std::vector<float> original_;
  std::vector<GridBlock> blocks_;
};

}  // namespace espalier::quant
