// SPDX-License-Identifier: Apache-2.0
// The state of Matrix, for linear() alone.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/linear.h"
#include "kernels/packed_memory.h"

namespace espalier::kernels {

struct Matrix::State {
  const KernelTable* table = nullptr;  // the table that it was packed for
  format::FormatId format = format::FormatId::f32;
  LinearKernel kernel{};
  WeightView view{};
  PackedMemory packed;
  std::int64_t gguf_bytes = 0;
  std::int64_t not_finite = -1;
};

}  // namespace espalier::kernels
