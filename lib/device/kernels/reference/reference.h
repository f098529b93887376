// SPDX-License-Identifier: Apache-2.0
// The reference kernels: plain loops and Eigen on GGUF bytes and float activations. They define the
// correct result. Speed is not a goal.
#pragma once
#include "kernels/kernel_table.h"

namespace espalier::kernels::reference {

// Quantizes n values to int8 and returns the scale. A group of (nearly) zeros has scale 0. A NaN or
// infinity gives scale NaN, so that the products show it.
float quantize_group(const float* x, std::int64_t n, std::int8_t* q);

void fill_linear(KernelTable& table);
void fill_quantize(KernelTable& table);
void fill_steps(StepKernels& steps);
void fill_kv(KvKernels* kv);
void fill_peak(KernelTable& table);

}  // namespace espalier::kernels::reference
