// SPDX-License-Identifier: Apache-2.0
// How fast this machine multiplies float32 matrices, as a reference for what other work reaches.
#pragma once

namespace espalier::model {

// Floating-point operations per second of a product of two 2048 x 2048 matrices: the best of five.
// It uses LibTorch's threads and takes about half a second.
double peak_operations_per_second();

}  // namespace espalier::model
