// SPDX-License-Identifier: Apache-2.0
#include "format/json_input.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace espalier::format {
namespace {

using Json = nlohmann::json;

std::string refusal(const std::string& text) {
  try {
    parse_json<Json>(text, "a.json");
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::input);
    return error.what();
  }
  return "accepted";
}
std::string nested(int depth) {
  const auto n = static_cast<std::size_t>(depth);
  return std::string(n, '[') + std::string(n, ']');
}

TEST(JsonInput, TakesWhatIsWellFormed) {
  EXPECT_EQ(parse_json<Json>(R"({"a": [1, "x"]})", "a.json").at("a").at(1), "x");
  EXPECT_EQ(parse_json<nlohmann::ordered_json>(R"({"b": 1, "a": 2})", "a.json").dump(),
            R"({"b":1,"a":2})");
}

TEST(JsonInput, BoundsNesting) {
  EXPECT_EQ(refusal(nested(kMaxJsonDepth)), "accepted");
  EXPECT_EQ(refusal("{\"a\":\n" + nested(kMaxJsonDepth) + "}"),
            "a.json:2: more than 64 levels of nesting at byte 69");
  for (const std::string& open :
       {std::string(100000, '['), std::string(100000, '{'), nested(100000)})
    EXPECT_EQ(refusal(open), "a.json:1: more than 64 levels of nesting at byte 64");
}

TEST(JsonInput, CountsOnlyBracketsOutsideStrings) {
  EXPECT_EQ(refusal("\"" + std::string(100000, '[') + "\""), "accepted");
  EXPECT_EQ(
      refusal(R"(["\"[[\\", ")" + std::string(100, '{') + "\\\"" + std::string(100, '[') + "\"]"),
      "accepted");
  // Closing brackets in strings hide nothing.
  std::string text;
  for (int i = 0; i < 100; ++i) text += "[\"]\", ";
  EXPECT_NE(refusal(text).find("levels of nesting"), std::string::npos);
}

TEST(JsonInput, RefusesBrokenTextNamingThePlace) {
  for (const char* text : {"", "{", "[1,]", "nul", "[1] x", "\"\xC3(\"", "]]]]", "\"open", "\"\\"})
    EXPECT_EQ(refusal(text).find("a.json:1: not JSON at byte "), 0u) << text;
  EXPECT_EQ(refusal("[\n\n1,,]").find("a.json:3: not JSON at byte 6"), 0u) << refusal("[\n\n1,,]");
  EXPECT_EQ(refusal("1e999"), "a.json: not JSON (number overflow parsing '1e999')");
  // Nothing of how the parser names errors and counts.
  EXPECT_EQ(refusal("{\"a\": nul}").find("a.json:1: not JSON at byte 10 (invalid literal; last"),
            0u)
      << refusal("{\"a\": nul}");
  for (const char* text : {"", "{", "[1,]", "nul", "\"\xC3(\"", "]", "\"open", "{\"a\" 1}", "\x01"})
    for (const char* part : {"exception", "parse error", "line 1", "column"})
      EXPECT_EQ(refusal(text).find(part), std::string::npos) << refusal(text);
  EXPECT_LT(refusal("\"" + std::string(100000, 'x')).size(), 300u);
}

}  // namespace
}  // namespace espalier::format
