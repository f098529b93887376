// SPDX-License-Identifier: Apache-2.0
// Files that stand where others were expected are named, in every format that is read.
#include "format/known_file.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "format/gguf.h"
#include "format/json_input.h"
#include "format/safetensors.h"
#include "support/temp_dir.h"

namespace espalier::format {
namespace {

const std::string kPointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 536870912\n";
const std::string kPage = "\n <!DOCTYPE html>\n<html><title>Sign in</title></html>";

std::string refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::input);
    return error.what();
  }
  return "accepted";
}

TEST(KnownFile, ByItsBeginning) {
  EXPECT_NE(what_it_is(kPointer).find("git lfs pull"), std::string_view::npos);
  EXPECT_NE(what_it_is(kPage).find("web page"), std::string_view::npos);
  EXPECT_NE(what_it_is("<html lang=en>").find("web page"), std::string_view::npos);
  EXPECT_NE(what_it_is("PK\x03\x04rest").find("ZIP"), std::string_view::npos);
  EXPECT_NE(what_it_is(std::string("\x10\0\0\0\0\0\0\0{\"a\":", 13)).find("safetensors"),
            std::string_view::npos);
  for (const char* text : {"", "{", "version 1 of a text", "<h1>A title</h1>", "words and words"})
    EXPECT_EQ(what_it_is(text), "") << text;
}

TEST(KnownFile, IsNamedWhereverAnotherWasExpected) {
  const support::TempDir dir;
  const std::string path = dir.file("model.bin");
  for (const auto& [content, word] : {std::pair(kPointer, "git lfs pull"), {kPage, "web page"}}) {
    core::write_text_file(path, content);
    for (const auto& read : std::vector<std::function<void()>>{
             [&] { parse_json<nlohmann::json>(content, path); },
             [&] { GgufHeader::read(core::FileReader(path)); },
             [&] { SafetensorsSet::open_file(path, SafetensorsSet::Allowed::any); }}) {
      const std::string said = refusal(read);
      EXPECT_TRUE(said.starts_with(path)) << said;
      EXPECT_NE(said.find(word), std::string::npos) << said;
    }
  }
}

TEST(KnownFile, NumbersThatOnlyPythonWritesAreNamed) {
  for (const char* word : {"NaN", "Infinity", "-Infinity"}) {
    const std::string said = refusal([&] {
      parse_json<nlohmann::json>(std::string("{\n\"scale\": ") + word + ", \"b\": 1}", "a.json");
    });
    EXPECT_TRUE(said.starts_with("a.json:2: ")) << said;
    EXPECT_NE(said.find(word), std::string::npos) << said;
  }
  EXPECT_EQ(refusal([] { parse_json<nlohmann::json>("{\"NaN\": \"Infinity\"}", "a.json"); }),
            "accepted");
  EXPECT_NE(refusal([] { parse_json<nlohmann::json>("{\"NaN\": ,}", "a.json"); }).find("not JSON"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier::format
