// SPDX-License-Identifier: Apache-2.0
// A check of values in one pass over memory.
#pragma once
#include <torch/types.h>

namespace espalier::model {

// Whether all values of a float32 tensor are finite. On the CPU it passes over memory once, where
// torch::isfinite() does four times.
bool all_finite(const torch::Tensor& t);

}  // namespace espalier::model
