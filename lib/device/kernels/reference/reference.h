// SPDX-License-Identifier: Apache-2.0
// The reference kernels: plain loops and Eigen on GGUF bytes and float activations. They define
// what is correct; speed is no aim.
#pragma once
#include "kernels/kernel_table.h"

namespace espalier::kernels::reference {

// n values -> int8. Returns the scale. A group of (nearly) zeros has scale 0; a NaN or infinity
// gives scale NaN, so that the products say so.
float quantize_group(const float* x, std::int64_t n, std::int8_t* q);

void fill_linear(KernelTable& table);
void fill_quantize(KernelTable& table);
void fill_steps(StepKernels& steps);
void fill_kv(KvKernels* kv);
void fill_peak(KernelTable& table);

}  // namespace espalier::kernels::reference
