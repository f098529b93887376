// SPDX-License-Identifier: Apache-2.0
// Bytes to text: whole characters, stop strings across pieces, the same for any cut.
#include "runtime/text_stream.h"

#include <gtest/gtest.h>

#include "runtime/expect_error.h"
#include "text/utf8.h"

namespace espalier::runtime {
namespace {

struct Streamed {
  std::string text, matched;
  bool operator==(const Streamed&) const = default;
};

// All pieces, each of which must be valid UTF-8.
Streamed stream(const std::string& bytes, std::size_t step,
                const std::vector<std::string>& stops = {}) {
  TextStream s(stops);
  std::string out;
  for (std::size_t at = 0; at < bytes.size() && !s.stopped(); at += step) {
    const std::string piece = s.push(std::string_view(bytes).substr(at, step));
    EXPECT_TRUE(text::is_valid_utf8(piece)) << bytes << " in steps of " << step;
    out += piece;
  }
  const std::string rest = s.finish();
  EXPECT_TRUE(text::is_valid_utf8(rest));
  EXPECT_EQ(s.push("more") == "", s.stopped());
  return {out + rest, s.matched()};
}

TEST(TextStream, NeverCutsACharacter) {
  const std::string text =
      "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";  // one character of each length
  for (std::size_t step = 1; step <= text.size(); ++step) EXPECT_EQ(stream(text, step).text, text);
}

TEST(TextStream, BrokenBytesAreReplacedAsOneWould) {
  for (const std::string bytes : {"\xFFx", "\xE2\x82x", "\xF0\x9F", "\x80\x80\x80\x80",
                                  "\xE0\x80\x80 \xED\xA0\x80", "\xC3\xC3\xA9", "\xF0\x9F\x98"})
    for (std::size_t step = 1; step <= bytes.size(); ++step)
      EXPECT_EQ(stream(bytes, step).text, text::replace_broken_utf8(bytes)) << step;
}

TEST(TextStream, StopsAcrossPieces) {
  struct Case {
    std::string bytes;
    std::vector<std::string> stops;
    std::string text, matched;
  };
  const Case cases[] = {
      {"one\nUser: two", {"\nUser:"}, "one", "\nUser:"},
      {"one\nUse: two", {"\nUser:"}, "one\nUse: two", ""},
      {"one\nUser", {"\nUser:"}, "one\nUser", ""},  // held back, but nothing came of it
      {"aaab", {"aab"}, "a", "aab"},
      {"abcd", {"abcde", "bc"}, "a", "bc"},  // the one that ends first
      {"xabc", {"c", "abc"}, "x", "abc"},    // of those that end together the longest
      {"caf\xC3\xA9 \xE2\x82\xAC", {"\xE2\x82\xAC"}, "caf\xC3\xA9 ", "\xE2\x82\xAC"},
      {"caf\xC3\xA9", {"\xC3\xA8"}, "caf\xC3\xA9", ""},  // shares a first byte
      {"stop", {"stop"}, "", "stop"},
      {"", {"stop"}, "", ""},
  };
  ASSERT_EQ(std::size(cases), 10u);
  for (const Case& c : cases)
    for (std::size_t step = 1; step <= std::max<std::size_t>(1, c.bytes.size()); ++step)
      EXPECT_EQ(stream(c.bytes, step, c.stops), (Streamed{c.text, c.matched}))
          << c.bytes << " in steps of " << step;
}

TEST(TextStream, HoldsNoMoreThanItMust) {
  TextStream s({"END"});
  EXPECT_EQ(s.push("the E"), "the ");
  EXPECT_EQ(s.push("nd"), "End");
  EXPECT_EQ(s.push("E"), "");
  EXPECT_EQ(s.push("NE"), "EN");
  EXPECT_EQ(s.push("ND!"), "");
  EXPECT_TRUE(s.stopped());
  support::expect_error([] { TextStream({"x", ""}); }, core::ErrorKind::usage, {"--stop"});
}

}  // namespace
}  // namespace espalier::runtime
