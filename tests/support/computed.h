// SPDX-License-Identifier: Apache-2.0
// Families whose blocks are all computed. The others can only be inspected and planned, so that
// tests of what is computed from them, and of what leaves, pass them by.
#pragma once
#include <algorithm>
#include <vector>

#include "arch/arch.h"

namespace espalier::support {

inline bool is_computed(const arch::Arch& a) {
  return std::all_of(a.blocks.begin(), a.blocks.end(),
                     [](const arch::Block& block) { return arch::is_computed(block.kind); });
}
inline std::vector<const arch::Arch*> computed_archs() {
  std::vector<const arch::Arch*> out;
  for (const arch::Arch* a : arch::all_archs())
    if (is_computed(*a)) out.push_back(a);
  return out;
}

}  // namespace espalier::support
