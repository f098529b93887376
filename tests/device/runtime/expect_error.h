// SPDX-License-Identifier: Apache-2.0
// An Error of one kind whose message holds every one of some parts.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"

namespace espalier::support {

template <typename F>
void expect_error(F&& f, core::ErrorKind kind, const std::vector<std::string>& parts) {
  try {
    f();
    ADD_FAILURE() << "no error, expected one with '" << parts.front() << "'";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
          << "no '" << part << "' in: " << e.what();
  }
}

}  // namespace espalier::support
