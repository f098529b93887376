// SPDX-License-Identifier: Apache-2.0
// The largest single block that operator new was asked for since the last call of reset(), in this
// test program.
#pragma once
#include <cstddef>

namespace espalier::support {

void reset_largest_allocation();
std::size_t largest_allocation();

}  // namespace espalier::support
