// SPDX-License-Identifier: Apache-2.0
// The option that both skew divergences share.
#pragma once
#include "objective/term.h"

namespace espalier::objective {

inline constexpr const char* kSkewAlpha = "skew_alpha";

inline void describe_skew(TermOptions& values, options::List& list) {
  list.add(kSkewAlpha, values.add_number(kSkewAlpha, 0.1),
           "share of the teacher in the mixture of skew_kl, of the student in skew_reverse_kl")
      .between(0.001, 0.999);
}

}  // namespace espalier::objective
