// SPDX-License-Identifier: Apache-2.0
// Legs A and B: is the file read correctly, and are the kernels correct? Internal to
// lib/pipeline/verify.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "text/documents.h"
#include "verify/memory.h"

namespace espalier::verify {

struct Parity {
  std::string reference_isa, isa;
  std::int64_t tokens = 0;
  // Training forward on dequantized weights against runtime(reference): relative RMS error of the
  // logits.
  double leg_a = 0, leg_a_tolerance = 0;
  // runtime(reference) against runtime(best ISA), measured the same way.
  double leg_b = 0, leg_b_tolerance = 0;
  bool passed() const { return leg_a <= leg_a_tolerance && leg_b <= leg_b_tolerance; }
};
// Measured on the first `tokens` tokens of the text, at all positions of that context.
Parity parity(const std::string& gguf, const text::Documents& documents, std::int64_t tokens,
              int threads, const MemoryBudget& memory, const text::Reading& reading = {});

}  // namespace espalier::verify
