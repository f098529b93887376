// SPDX-License-Identifier: Apache-2.0
// The message of an Error of one kind.
#pragma once
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace espalier::support {

// A failure and "" where `f` ends without one.
template <typename F>
std::string refusal(F&& f, core::ErrorKind kind) {
  try {
    f();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "not refused";
  return "";
}

}  // namespace espalier::support
