// SPDX-License-Identifier: Apache-2.0
// A chunk of rows on the way through GPTQ rounding. Values of lanes as in rows/row_kernels.h.
#pragma once
#include <cstdint>
#include <vector>

#include "quant/gptq.h"
#include "quant/grid.h"
#include "quant/rows/row_kernels.h"

namespace espalier::quant {

struct Chunk {
  const Grid& grid;
  const GptqFactor& factor;
  const RowKernels& kernels;
  const float* weights;  // [rows, cols] before rounding
  std::int64_t rows;     // at most kRowChunk; the lanes behind them stay 0
  // The rounded rows.
  std::vector<std::int8_t> level;  // [cols, kRowChunk]
  std::vector<SubScale> scale;     // [cols / sub, kRowChunk]
  std::vector<BlockScale> block;   // [cols / block, kRowChunk]

  Chunk(const Grid& of, const GptqFactor& by, const RowKernels& with, const float* from,
        std::int64_t n)
      : grid(of), factor(by), kernels(with), weights(from), rows(n) {
    const auto size = [&](std::int64_t per) {
      return static_cast<std::size_t>(by.cols() / per * kRowChunk);
    };
    level.assign(size(1), 0);
    scale.assign(size(of.sub), {});
    block.assign(size(of.block), {});
  }
};

// The GPTQ sweep. Chooses all scales and levels.
void sweep(Chunk& chunk);

// Coordinate descent. It lowers (w - q)^T H (w - q) by changing one level or one stored scale at a
// time, while that helps.
void descend(Chunk& chunk);

// Writes the bytes of row r.
void pack_row(const Chunk& chunk, std::int64_t r, const format::QuantFormat& format,
              std::byte* out);

}  // namespace espalier::quant
