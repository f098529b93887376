// SPDX-License-Identifier: Apache-2.0
// All rows of a chunk visit a sub-block before the next sub-block. A visit updates only the
// sub-block's part of the gradient. One matrix product then updates the rest.
#include "quant/descent.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "quant/gptq.h"

namespace espalier::quant {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Changes must lower the error by more than the float noise of the running gradient.
constexpr float kWorthwhile = 1e-5f;

// One sub-block of one row. Changing its values by e changes the error by e H e^T - 2 g e^T, where
// g = (w - q) H.
template <int kSub>
struct Visit {
  const Grid& grid;
  const GridBlock& block;
  const float* h;  // [kSub, kSub]: the sub-block's part of H
  float g[kSub];   // kept up to date
  float e[kSub];   // change so far
  SubScale& scale;
  std::int8_t* level;

  void change(int i, float by) {
    e[i] += by;
    for (int k = 0; k < kSub; ++k) g[k] -= by * h[i * kSub + k];
  }

  void improve_levels() {
    const float inverse = inverse_step(scale);
    if (inverse == 0.0f) return;
    for (int i = 0; i < kSub; ++i) {
      const float hii = h[i * (kSub + 1)];
      // The target zeroes the gradient.
      const int l = nearest_level(grid, scale, inverse, grid_value(scale, level[i]) + g[i] / hii);
      if (l == level[i]) continue;
      const float by = scale.step * static_cast<float>(l - level[i]);
      if (!(by * (2 * g[i] - by * hii) > kWorthwhile * hii * scale.step * scale.step)) continue;
      level[i] = static_cast<std::int8_t>(l);
      change(i, by);
    }
  }

  // Takes the stored scale nearest to the least-squares scale for the current levels, if it lowers
  // the error.
  void improve_scale() {
    float ga = 0, gb = 0, aa = 0, ab = 0, bb = 0;  // gradient and curvature in (step, offset)
    for (int i = 0; i < kSub; ++i) {
      float ha = 0, hb = 0;
      for (int k = 0; k < kSub; ++k) {
        ha += h[i * kSub + k] * static_cast<float>(level[k]);
        hb += h[i * kSub + k];
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
    if (grid.affine && determinant > 1e-4f * aa * bb) {
      a = (ga * bb - gb * ab) / determinant;
      b = (gb * aa - ga * ab) / determinant;
    } else if (aa > 0) {
      a = ga / aa;
    } else {
      return;
    }
    const SubScale next = stored_scale(grid, block, scale.step + a, scale.offset + b);
    const float da = next.step - scale.step, db = next.offset - scale.offset;
    const float gain = 2 * (da * ga + db * gb) - (da * da * aa + 2 * da * db * ab + db * db * bb);
    if (!(gain > kWorthwhile * h[0] * scale.step * scale.step)) return;
    for (int i = 0; i < kSub; ++i)
      change(i, grid_value(next, level[i]) - grid_value(scale, level[i]));
    scale = next;
  }
};

template <int kSub>
void descend_by(const Grid& grid, const GptqFactor& factor, const float* weights, std::int64_t n,
                std::vector<GridBlock>& blocks) {
  const std::int64_t cols = factor.cols(), blocks_per_row = cols / grid.block;
  const Eigen::Map<const Matrix> h(factor.h(), cols, cols);
  const auto block_of = [&](std::int64_t row, std::int64_t c) -> GridBlock& {
    return blocks[static_cast<std::size_t>(row * blocks_per_row + c / grid.block)];
  };
  Matrix r = Eigen::Map<const Matrix>(weights, n, cols);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t c = 0; c < cols; ++c) {
      const GridBlock& block = block_of(i, c);
      const auto in_block = static_cast<int>(c % grid.block);
      r(i, c) -= grid_value(block.sub[in_block / kSub], block.level[in_block]);
    }
  Matrix g = r * h;
  Matrix changes(n, kSub);
  for (int pass = 0; pass < factor.options().descent_passes; ++pass)
    for (std::int64_t c = 0; c < cols; c += kSub) {
      float local_h[kSub * kSub];
      for (int i = 0; i < kSub; ++i)
        std::copy_n(factor.h() + (c + i) * cols + c, kSub, local_h + i * kSub);
      for (std::int64_t i = 0; i < n; ++i) {
        GridBlock& block = block_of(i, c);
        const auto in_block = static_cast<int>(c % grid.block);
        Visit<kSub> visit{
            grid, block, local_h, {}, {}, block.sub[in_block / kSub], block.level + in_block};
        std::copy_n(g.row(i).data() + c, kSub, visit.g);
        visit.improve_levels();
        visit.improve_scale();
        visit.improve_levels();
        std::copy_n(visit.e, kSub, changes.row(i).data());
      }
      g.noalias() -= changes * h.middleRows(c, kSub);
    }
}

}  // namespace

void descend(const Grid& grid, const GptqFactor& factor, const float* weights, std::int64_t n,
             std::vector<GridBlock>& blocks) {
  if (factor.options().descent_passes == 0) return;
  const auto by = grid.sub == 64   ? descend_by<64>
                  : grid.sub == 32 ? descend_by<32>
                                   : descend_by<16>;
  by(grid, factor, weights, n, blocks);
}

}  // namespace espalier::quant
