// SPDX-License-Identifier: Apache-2.0
// Words of a small vocabulary in random order: a few thousand tokens that a student can learn
// something about.
#pragma once
#include <cstdint>
#include <string>

#include "core/rng.h"

namespace espalier::distill {

inline std::string sample_text(std::uint64_t seed, int words) {
  static const char* const kWords[] = {"the ",     "model ",  "of ",   "a ",   "small ",
                                       "student ", "learns ", "from ", "its ", "teacher. "};
  core::Rng rng(seed);
  std::string out;
  for (int i = 0; i < words; ++i) out += kWords[rng.below(10)];
  return out;
}

}  // namespace espalier::distill
