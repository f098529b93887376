#include "quant/descent.h"

#include <Eigen/Core>
#include <cmath>

#include "quant/gptq.h"

namespace espalier::quant {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::Map<Eigen::RowVectorXf>;
using ConstRow = Eigen::Map<const Eigen::RowVectorXf>;

// Changes must lower the error by more than the float noise of the running gradient.
constexpr float kWorthwhile = 1e-6f;

// One row: r = w - q, g = r H, both kept up to date.
struct RowState {
  const float* h;
  std::int64_t cols;
  float* r;
  float* g;

  void move(std::int64_t i, float change) {  // q_i += change
    r[i] -= change;
    Row(g, cols).noalias() -= change * ConstRow(h + i * cols, cols);
  }
};

void improve_levels(const Grid& grid, const SubScale& scale, std::int64_t c, RowState& row, std::int8_t* level) {
  const float inverse = inverse_step(scale);
  if (inverse == 0.0f) return;
  for (int i = 0; i < grid.sub; ++i) {
    const float hii = row.h[(c + i) * row.cols + c + i];
    const float wanted = row.g[c + i] / hii;  // moving q_i by this makes its gradient zero
    const int l = nearest_level(grid, scale, inverse, grid_value(scale, level[i]) + wanted);
    if (l == level[i]) continue;
    const float change = scale.step * static_cast<float>(l - level[i]);
    const float gain = change * (2 * row.g[c + i] - change * hii);
    if (!(gain > kWorthwhile * hii * scale.step * scale.step)) continue;
    level[i] = static_cast<std::int8_t>(l);
    row.move(c + i, change);
  }
}

// The stored scale nearest to the least-squares one for the levels as they are, when it lowers the error.
void improve_scale(const Grid& grid, const GridBlock& block, std::int64_t c, RowState& row, SubScale& scale, const std::int8_t* level) {
  // change of q = a * level + b: gradient and curvature in (a, b)
  double ga = 0, gb = 0, aa = 0, ab = 0, bb = 0;
  for (int i = 0; i < grid.sub; ++i) {
    const float* h = row.h + (c + i) * row.cols + c;
    double ha = 0, hb = 0;
    for (int k = 0; k < grid.sub; ++k) {
      ha += static_cast<double>(h[k]) * level[k];
      hb += static_cast<double>(h[k]);
    }
    ga += static_cast<double>(row.g[c + i]) * level[i];
    gb += static_cast<double>(row.g[c + i]);
    aa += ha * level[i];
    ab += hb * level[i];
    bb += hb;
  }
  double a = 0, b = 0;
  const double determinant = aa * bb - ab * ab;
  if (grid.affine && determinant > 1e-6 * aa * bb) {
    a = (ga * bb - gb * ab) / determinant;
    b = (gb * aa - ga * ab) / determinant;
  } else if (aa > 0) {
    a = ga / aa;
  } else {
    return;
  }
  const SubScale next = stored_scale(grid, block, scale.step + static_cast<float>(a), scale.offset + static_cast<float>(b));
  const double da = static_cast<double>(next.step) - static_cast<double>(scale.step);
  const double db = static_cast<double>(next.offset) - static_cast<double>(scale.offset);
  const double gain = 2 * (da * ga + db * gb) - (da * da * aa + 2 * da * db * ab + db * db * bb);
  if (!(gain > static_cast<double>(kWorthwhile) * aa * static_cast<double>(scale.step) * static_cast<double>(scale.step))) return;
  for (int i = 0; i < grid.sub; ++i) {
    const float change = grid_value(next, level[i]) - grid_value(scale, level[i]);
    if (change != 0.0f) row.move(c + i, change);
  }
  scale = next;
}

}  // namespace

void descend(const Grid& grid, const GptqFactor& factor, const float* weights, std::int64_t n, std::vector<GridBlock>& blocks) {
  const std::int64_t cols = factor.cols(), blocks_per_row = cols / grid.block;
  Matrix r = Eigen::Map<const Matrix>(weights, n, cols);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t c = 0; c < cols; ++c) {
      const GridBlock& block = blocks[static_cast<std::size_t>(i * blocks_per_row + c / grid.block)];
      const auto in_block = static_cast<int>(c % grid.block);
      r(i, c) -= grid_value(block.sub[in_block / grid.sub], block.level[in_block]);
    }
  Matrix g = r * Eigen::Map<const Matrix>(factor.h(), cols, cols);
  for (int pass = 0; pass < factor.options().descent_passes; ++pass)
    for (std::int64_t i = 0; i < n; ++i) {
      RowState row{factor.h(), cols, r.row(i).data(), g.row(i).data()};
      for (std::int64_t c = 0; c < cols; c += grid.sub) {
        GridBlock& block = blocks[static_cast<std::size_t>(i * blocks_per_row + c / grid.block)];
        const auto in_block = static_cast<int>(c % grid.block);
        SubScale& scale = block.sub[in_block / grid.sub];
        improve_scale(grid, block, c, row, scale, block.level + in_block);
        improve_levels(grid, scale, c, row, block.level + in_block);
      }
    }
}

}  // namespace espalier::quant
