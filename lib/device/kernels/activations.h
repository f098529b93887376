// SPDX-License-Identifier: Apache-2.0
// The insides of Activations, for linear() alone: the float values given, and the quantized forms
// once somebody wanted them.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/linear.h"
#include "kernels/packed_memory.h"

namespace espalier::kernels {

struct Activations::State {
  std::int64_t max_tokens = 0, max_cols = 0;
  std::int64_t n = 0, cols = 0;
  const float* x = nullptr;
  PackedMemory per_32,
      per_256;        // [chunk][token]; pages are touched only when a format wants that form
  PackedMemory bf16;  // [token][padded cols]; the same
  const KernelTable* per_32_by =
      nullptr;  // the table that quantized the current values; null: not yet
  const KernelTable* per_256_by = nullptr;
  const KernelTable* bf16_by = nullptr;

  // The values in the form wanted, quantized now if they are not yet: by the caller when there are
  // few, else by the pool. Only reads when they are, so that workers may ask too.
  ActivationView view(ActivationForm form, const KernelTable& table,
                      core::ThreadPool& pool) noexcept;
};

}  // namespace espalier::kernels
