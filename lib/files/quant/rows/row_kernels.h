// SPDX-License-Identifier: Apache-2.0
// The loops of GPTQ rounding over a chunk of rows: a lane of a vector is a row. And those of its
// factorization, where a lane is a column. Each lane does its operations in one order, so results
// are the same on every processor and for any number of threads.
//
// Values of lanes lie value by value: value i of row r at [i * kRowChunk + r].
#pragma once
#include <cstdint>
#include <span>

#include "quant/grid.h"
#include "quant/rounding.h"

namespace espalier::quant {

// The error feedback through one sub-block, once for each candidate scale. The scale of least error
// wins; among equals, the first.
struct SweepLanes {
  const Grid& grid;
  const float* w;              // [sub, rows] current weights
  const float* feedback;       // [sub, sub]: entry [i, k] leads from column k to column i > k
  const float* weight;         // [sub] of the squares of differences
  int candidates;              // the most that a row has
  const float *step, *offset;  // [candidates, rows]
  const std::int32_t* count;   // [rows] candidates of the row, 1 or more
  // What the best candidate gives.
  std::int32_t* best;  // [rows]
  std::int8_t* level;  // [sub, rows]
  float* difference;   // [sub, rows] w - q at the time of rounding
};

// One visit of coordinate descent to a sub-block: its levels, its scale, its levels again. Changing
// values by e changes the error by e H e^T - 2 g e^T, where g = (w - q) H.
struct DescentLanes {
  const Grid& grid;
  const float* h;           // [sub, sub]: the sub-block's part of H
  const float* g;           // [sub, rows]
  float* e;                 // [sub, rows] receives the changes
  std::int8_t* level;       // [sub, rows]
  SubScale* scale;          // [rows]
  const BlockScale* block;  // [rows]
};

// out[r, first .. end) -= sum over k of coefficient[r, k] * matrix[index[r, k], first .. end), or,
// with `adds`, the terms are added to `out` one by one. The columns are a multiple of 16.
struct Products {
  std::int64_t rows;
  const float* coefficient;  // rows lie coefficient_stride apart
  std::int64_t coefficient_stride;
  // The terms of each row, [rows, kMaxSub], and their numbers, [rows]. Null: all rows of the matrix
  // in order.
  const std::int32_t *index, *count;
  const float* matrix;
  std::int64_t depth;   // rows of the matrix, at most kMaxDepth
  std::int64_t stride;  // of `matrix` and of `out`
  std::int64_t first, end;
  float* out;
  bool adds;
};
constexpr int kMaxDepth = 128;

constexpr int kTile = 64;  // rows and columns of a tile of doubles (lower_tiles.h)

// One row for each instruction set that is compiled in.
struct RowKernels {
  const char* isa;
  bool (*runnable)();
  void (*sweep)(const SweepLanes& lanes);
  void (*descend)(const DescentLanes& lanes);
  void (*multiply)(const Products& products);
  void (*multiply_tile)(const double* a, const double* b, double* c);  // c -= a b, of tiles
};

// In order of preference: the last runnable one is the best. The first runs everywhere.
std::span<const RowKernels> row_kernels();
const RowKernels& best_row_kernels();

}  // namespace espalier::quant
