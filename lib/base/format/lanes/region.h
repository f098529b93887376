// SPDX-License-Identifier: Apache-2.0
// Whether a part of a file may be compiled for AVX2, between pragmas. Where not, the baseline
// serves. And the choice among what was compiled.
#pragma once
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ESP_HAS_AVX2_REGION
#endif

namespace espalier::format {

// The last of the rows that this processor runs. The first runs everywhere.
template <typename Rows>
const auto& last_runnable(const Rows& rows) {
  const auto* last = &rows[0];
  for (const auto& row : rows)
    if (row.runnable()) last = &row;
  return *last;
}

}  // namespace espalier::format
