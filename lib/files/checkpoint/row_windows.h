// SPDX-License-Identifier: Apache-2.0
// A tensor in windows of rows, so that it is never in memory as a whole.
#pragma once
#include <algorithm>
#include <cstdint>

#include "arch/arch.h"

namespace espalier::checkpoint {

// Calls f(first row, number of rows) with consecutive windows of about `values` values. A window
// holds whole heads, because rows of a head may be interleaved in the file.
template <typename F>
void each_row_window(const arch::TensorRef& t, const arch::ModelDims& dims, std::int64_t values,
                     F&& f) {
  const std::int64_t unit = t.is_vector ? t.rows : dims.head_dim;
  const std::int64_t window = std::max<std::int64_t>(1, values / (t.cols * unit)) * unit;
  for (std::int64_t row = 0; row < t.rows; row += window) f(row, std::min(window, t.rows - row));
}

}  // namespace espalier::checkpoint
