// SPDX-License-Identifier: Apache-2.0
// What GGUF files of a family say about windows.
#pragma once
#include "arch/arch.h"

namespace espalier::arch {

// Keys for the window and for which layers have it, which stock readers compute.
inline bool has_window_keys(const Arch& arch) {
  return arch.window_period > kOnlyListed && arch.window_period != kEveryLayer;
}
// One window of all layers, which is stated but which stock readers do not compute.
inline bool states_window(const Arch& arch) {
  return arch.window_period == kEveryLayer && arch.name == arch.gguf;
}

}  // namespace espalier::arch
