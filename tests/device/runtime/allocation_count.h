// SPDX-License-Identifier: Apache-2.0
// Counts calls of operator new in this test program, on every thread.
#pragma once
#include <cstdint>

namespace espalier::support {

std::int64_t allocation_count();

}  // namespace espalier::support
