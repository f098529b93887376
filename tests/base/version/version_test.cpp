// SPDX-License-Identifier: Apache-2.0
// One version number, and what git says of the sources beside it.
#include "version/version.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace espalier::version {
namespace {

TEST(Version, TheNumberIsTheProjectsAndIsWrittenNowhereElse) {
  std::ifstream file(ESPALIER_SOURCE_DIR "/CMakeLists.txt");
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find("project(espalier VERSION " + std::string(number()) + " "),
            std::string::npos)
      << number();
}

TEST(Version, TheFullFormNamesTheSources) {
  const std::string git = description();
  EXPECT_EQ(full(), git.empty() ? number() : number() + (" (" + git + ")"));
}

}  // namespace
}  // namespace espalier::version
