// SPDX-License-Identifier: Apache-2.0
// The state of Activations, for linear() alone: the given float values, and their quantized forms
// once a kernel asks for them.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/linear.h"
#include "kernels/packed_memory.h"

namespace espalier::kernels {

struct Activations::State {
  std::int64_t max_tokens = 0, max_cols = 0;
  std::int64_t n = 0, cols = 0;
  const float* x = nullptr;
  // [chunk][token]. Pages are touched only when a format uses that form.
  PackedMemory per_32, per_256;
  PackedMemory bf16;  // [token][padded cols], touched on demand as well
  // The table that quantized the current values. null: not yet quantized.
  const KernelTable* per_32_by = nullptr;
  const KernelTable* per_256_by = nullptr;
  const KernelTable* bf16_by = nullptr;

  // The values in the wanted form. Quantizes them if needed: on the calling thread when there are
  // few, else on the pool. When they are quantized already it only reads, so workers may call it
  // too.
  ActivationView view(ActivationForm form, const KernelTable& table,
                      core::ThreadPool& pool) noexcept;
};

}  // namespace espalier::kernels
