// SPDX-License-Identifier: Apache-2.0
// What a refusal must say: its kind, and words that name the thing and the place.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"

namespace espalier::distill {

template <typename Run>
void expect_refused(core::ErrorKind kind, const std::vector<std::string>& words, Run&& run) {
  try {
    run();
    FAIL() << "accepted; expected a refusal naming " << words.front();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& w : words)
      EXPECT_NE(std::string(error.what()).find(w), std::string::npos)
          << w << " in: " << error.what();
  }
}

}  // namespace espalier::distill
