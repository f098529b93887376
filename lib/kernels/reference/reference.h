// The reference kernels: plain loops and Eigen on GGUF bytes and float activations. They define what is correct; speed is no aim.
#pragma once
#include "kernels/kernel_table.h"

namespace espalier::kernels::reference {

void fill_linear(KernelTable& table);
void fill_quantize(KernelTable& table);
void fill_steps(StepKernels& steps);

}  // namespace espalier::kernels::reference
