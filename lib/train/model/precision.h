// SPDX-License-Identifier: Apache-2.0
// What the option `precision` means on this machine. Does not include LibTorch.
#pragma once
#include <string>

namespace espalier::model {

// "float32" or "bfloat16" of "float32", "bfloat16" or "auto", which is what is fast on this
// processor. Inputs and weights of matrix products are rounded to it; sums and results are float32.
// Error(usage) for another name.
std::string matmul_precision(const std::string& precision);

}  // namespace espalier::model
