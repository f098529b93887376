// SPDX-License-Identifier: Apache-2.0
// Files that not every machine has: the folder ESPALIER_SHARED (default: shared/ beside the
// checkout) and the teacher ESPALIER_TEACHER. Tests that need one live in a *_shared_test.cpp
// (label "shared") and begin with ESP_NEED_FILE: without the file they are skipped aloud, or fail
// where the environment has ESPALIER_NO_SKIP. No other test may skip (tests/support/main.cpp).
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace espalier::support {

std::string shared_file(const std::string& name);  // "data/teachers/stories260K.gguf"
std::string teacher_file();                        // SmolLM2 as a GGUF; empty when nobody named one
bool skipping_is_refused();

}  // namespace espalier::support

#define ESP_NEED_FILE(path)                                                                        \
  do {                                                                                             \
    const std::string needed_file = (path);                                                        \
    if (std::filesystem::is_regular_file(needed_file)) break;                                      \
    if (::espalier::support::skipping_is_refused())                                                \
      GTEST_FAIL() << "'" << needed_file << "' is absent and ESPALIER_NO_SKIP is set";             \
    GTEST_SKIP() << "'" << needed_file << "' is absent: set ESPALIER_SHARED and ESPALIER_TEACHER"; \
  } while (false)
