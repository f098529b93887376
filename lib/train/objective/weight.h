// SPDX-License-Identifier: Apache-2.0
// The weight of a term, which may move over the training.
#pragma once
#include <string>

namespace espalier::objective {

// "0.5", or "1 to 0.1": moves in equal steps from the first step to the last.
struct Weight {
  double first = 0, last = 0;

  // progress: 0 at the first step, 1 at the last.
  double at(double progress) const {
    return first == last ? first : first + (last - first) * progress;
  }
  bool is_zero() const { return first == 0 && last == 0; }
};

// Error(usage) beginning with `where`, for a text that is neither, and for weights below 0, above
// 1000, or all 0.
Weight parse_weight(const std::string& text, const std::string& where);

}  // namespace espalier::objective
