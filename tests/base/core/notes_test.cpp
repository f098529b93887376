// SPDX-License-Identifier: Apache-2.0
// Notes are kept in order and once, and heard as they come.
#include "core/notes.h"

#include <gtest/gtest.h>

namespace espalier::core {
namespace {

TEST(Notes, AreKeptOnceAndHeard) {
  const std::size_t before = notes().size();
  std::vector<std::string> heard;
  note("nobody listens yet");
  hear_notes([&](const std::string& text) { heard.push_back(text); });
  note("first");
  note("second");
  note("first");
  hear_notes({});
  note("third");
  EXPECT_EQ(heard, (std::vector<std::string>{"first", "second"}));
  const std::vector<std::string> all = notes();
  EXPECT_EQ(std::vector<std::string>(all.begin() + static_cast<std::ptrdiff_t>(before), all.end()),
            (std::vector<std::string>{"nobody listens yet", "first", "second", "third"}));
}

}  // namespace
}  // namespace espalier::core
