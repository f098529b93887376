// SPDX-License-Identifier: Apache-2.0
// docs/device-card.md has a cell for every gate in its table of gates, and no other.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "core/file.h"
#include "verify/verify.h"

namespace espalier::verify {
namespace {

TEST(GateDocs, ThePageNamesEveryGateAndNoOther) {
  const std::string page =
      core::read_text_file(std::string(ESPALIER_SOURCE_DIR "/docs/device-card.md"));
  const std::size_t begin = page.find("<!-- gates -->"), end = page.find("<!-- end of gates -->");
  ASSERT_LT(begin, end);
  ASSERT_NE(end, std::string::npos);
  std::set<std::string> documented;
  for (std::size_t at = begin; (at = page.find("| `", at)) < end;) {
    at += 3;
    documented.insert(page.substr(at, page.find('`', at) - at));
  }
  const std::set<std::string> known(gate_names().begin(), gate_names().end());
  EXPECT_GE(known.size(), 27u);
  EXPECT_EQ(documented, known);
}

}  // namespace
}  // namespace espalier::verify
