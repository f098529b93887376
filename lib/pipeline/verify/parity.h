// SPDX-License-Identifier: Apache-2.0
// Legs A and B: is the file read right, are the kernels right? Internal to lib/pipeline/verify.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace espalier::verify {

struct Parity {
  std::string reference_isa, isa;
  std::int64_t tokens = 0;
  double leg_a = 0, leg_a_tolerance = 0;  // training forward on dequantized weights vs
                                          // runtime(reference): relative RMS error of the logits
  double leg_b = 0, leg_b_tolerance = 0;  // runtime(reference) vs runtime(best ISA): the same
  bool passed() const { return leg_a <= leg_a_tolerance && leg_b <= leg_b_tolerance; }
};
// On the first `tokens` tokens of the text, at positions from the first to the last of that
// context.
Parity parity(const std::string& gguf, const std::string& text, std::int64_t tokens, int threads);

}  // namespace espalier::verify
