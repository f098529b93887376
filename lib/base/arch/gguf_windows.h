// SPDX-License-Identifier: Apache-2.0
// What GGUF files of a family say about attention windows.
#pragma once
#include "arch/arch.h"

namespace espalier::arch {

// The family has keys for the window and for the layers that use it, and stock readers compute it.
inline bool has_window_keys(const Arch& arch) {
  return arch.window_period > kOnlyListed && arch.window_period != kEveryLayer;
}
// The family states one window for all layers, which stock readers do not compute.
inline bool states_window(const Arch& arch) {
  return arch.window_period == kEveryLayer && arch.name == arch.gguf;
}
// No text of the model's context leaves a window. All layers then compute the same.
inline bool window_sees_all(const ModelDims& dims) { return dims.window >= dims.positions; }

}  // namespace espalier::arch
