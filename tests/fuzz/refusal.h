// SPDX-License-Identifier: Apache-2.0
// What a fuzz target lets pass: an Error that blames the input. Everything else ends the program,
// and libFuzzer keeps the input.
#pragma once
#include <cstdlib>

#include "core/error.h"

namespace espalier::fuzz {

inline void require(bool condition) {
  if (!condition) std::abort();
}

template <typename F>
void allow_refusal(F&& f) {
  try {
    f();
  } catch (const core::Error& e) {
    require(e.kind() == core::ErrorKind::input || e.kind() == core::ErrorKind::unsupported);
  }
}

}  // namespace espalier::fuzz
