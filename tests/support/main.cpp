// SPDX-License-Identifier: Apache-2.0
// The main function of all test programs. A skipped test is one that proves nothing: only
// <folder>_shared_test may have some, ends with kSkipped then (ctest shows "Skipped"), and not even
// that where ESPALIER_NO_SKIP is set.
#include <gtest/gtest.h>

#include <cstdio>
#include <string_view>

#include "support/shared_files.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // SKIP_RETURN_CODE in tests/CMakeLists.txt
  const bool may_skip = std::string_view(argv[0]).ends_with("_shared_test") &&
                        !espalier::support::skipping_is_refused();
  testing::InitGoogleTest(&argc, argv);
  if (RUN_ALL_TESTS() != 0) return 1;
  if (testing::UnitTest::GetInstance()->skipped_test_count() == 0) return 0;
  if (may_skip) return kSkipped;
  std::fputs(
      "FAILED: a test was skipped; only tests labelled 'shared' may be, and none where "
      "ESPALIER_NO_SKIP is set\n",
      stderr);
  return 1;
}
