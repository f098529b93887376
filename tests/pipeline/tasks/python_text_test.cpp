// SPDX-License-Identifier: Apache-2.0
// What Python 3.11 gives for the same texts.
#include "tasks/python_text.h"

#include <gtest/gtest.h>

namespace espalier::tasks {
namespace {

TEST(PythonText, Capitalize) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"the Dog from ROME", "The dog from rome"},
                                                       {"éCLAIRS Are", "Éclairs are"},
                                                       {" Two Men", " two men"},
                                                       {"ßTRASSE", "Sstrasse"},
                                                       {"ﬁRST", "First"},
                                                       {"ǆUNGLA", "ǅungla"},
                                                       {"İSTANBUL İS", "İstanbul i̇s"},
                                                       {"ΟΔΟΣ ΣΑΣ. Σ", "Οδος σας. σ"},
                                                       {"a'Σ ΑΣ'", "A'ς ας'"},
                                                       {"3D Printing", "3d printing"}};
  for (const auto& [text, expected] : cases) EXPECT_EQ(capitalize(text), expected) << text;
}

TEST(PythonText, StripTakesPythonsWhiteSpace) {
  EXPECT_EQ(strip(" \t\n\x1c\x1f\u00a0\u2003\u3000 a b \u2028"), "a b");
  EXPECT_EQ(strip("\u0085a\u0085"), "a");
  EXPECT_EQ(strip("\u200ba"), "\u200ba");  // has no width, and is no white space
  EXPECT_EQ(strip(" \n "), "");
  EXPECT_EQ(trailing_white_bytes("a \u3000\n"), 5u);
  EXPECT_EQ(trailing_white_bytes(" a"), 0u);
}

TEST(PythonText, CharactersAreCodePoints) {
  EXPECT_EQ(characters("Kürbis"), 6);
  EXPECT_EQ(characters("e\u0301"), 2);
  EXPECT_EQ(characters("😀"), 1);
}

}  // namespace
}  // namespace espalier::tasks
