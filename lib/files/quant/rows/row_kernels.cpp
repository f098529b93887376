// SPDX-License-Identifier: Apache-2.0
// The loops over rows, compiled once for the processors that everything runs on and once for AVX2.
#include "quant/rows/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/blocks/codebook.h"
#include "format/lanes/region.h"

namespace espalier::quant {
namespace {

// Changes must lower the error by more than the float noise of the running gradient.
constexpr float kWorthwhile = 1e-5f;

}  // namespace
}  // namespace espalier::quant

#define ESP_WIDTH 4
namespace espalier::quant::rows_baseline {
namespace {
using format::kCodebook4, format::scale_bits;
#include "format/lanes/vector-inl.h"
#include "format/lanes/levels-inl.h"
#include "quant/rows/levels-inl.h"
#include "quant/rows/sweep-inl.h"
#include "quant/rows/descent-inl.h"
#include "quant/rows/products-inl.h"
#include "quant/rows/tile-inl.h"
}  // namespace
}  // namespace espalier::quant::rows_baseline
#undef ESP_WIDTH
#undef ESP_INLINE
#undef ESP_APART

#ifdef ESP_HAS_AVX2_REGION
#pragma GCC push_options
#pragma GCC target("avx2")
#define ESP_WIDTH 8
#define ESP_AVX2
namespace espalier::quant::rows_avx2 {
namespace {
using format::kCodebook4, format::scale_bits;
#include "format/lanes/vector-inl.h"
#include "format/lanes/levels-inl.h"
#include "quant/rows/levels-inl.h"
#include "quant/rows/sweep-inl.h"
#include "quant/rows/descent-inl.h"
#include "quant/rows/products-inl.h"
#include "quant/rows/tile-inl.h"
}  // namespace
}  // namespace espalier::quant::rows_avx2
#undef ESP_AVX2
#undef ESP_WIDTH
#undef ESP_INLINE
#undef ESP_APART
#pragma GCC pop_options
#endif

namespace espalier::quant {
namespace {

constexpr RowKernels kKernels[] = {
    {"baseline", [] { return true; }, rows_baseline::sweep, rows_baseline::descend,
     rows_baseline::multiply, rows_baseline::multiply_tile},
#ifdef ESP_HAS_AVX2_REGION
    {"avx2", [] { return __builtin_cpu_supports("avx2") != 0; }, rows_avx2::sweep,
     rows_avx2::descend, rows_avx2::multiply, rows_avx2::multiply_tile},
#endif
};

}  // namespace

std::span<const RowKernels> row_kernels() { return kKernels; }

const RowKernels& best_row_kernels() {
  static const RowKernels& best = format::last_runnable(kKernels);
  return best;
}

}  // namespace espalier::quant
