// SPDX-License-Identifier: Apache-2.0
// Texts: what is refused with which offset, marks, line breaks, documents, and control tokens.
#include "text/documents.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"
#include "text/windows.h"

namespace espalier::text {
namespace {

std::string refusal(const std::string& path) {
  try {
    read_documents(path);
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    return e.what();
  }
  return "";
}

TEST(Documents, WhatIsNoUtf8IsRefusedAtItsFirstByte) {
  support::TempDir dir;
  struct Case {
    std::string bytes;
    const char *place, *what;
  };
  const Case cases[] = {
      {std::string("\xFF\xFEh\0i\0", 6), ":1: byte 0 ", "UTF-16"},
      {std::string("\xFE\xFF\0h\0i", 6), ":1: byte 0 ", "UTF-16"},
      {std::string("\xFF\xFE\0\0h\0\0\0", 8), ":1: byte 0 ", "UTF-32"},
      {std::string("h\0i\0\n\0", 6), ":1: byte 1 ", "UTF-16"},
      {"caf\xE9 au lait\n", ":1: byte 3 of the file (0xE9)", "another encoding"},
      {"one\ntwo\nna\xEFve\n", ":3: byte 10 of the file (0xEF)", "another encoding"},
      {"\x82\xA0\x82\xA2", ":1: byte 0 of the file (0x82)", "another encoding"},  // Shift-JIS
      {"it\x92s", ":1: byte 2 of the file (0x92)", "another encoding"},           // CP1252
      {"caf\xC3", ":1: byte 3 of the file (0xC3)", "ends inside a character"},
      {"a\xE2\x82", ":1: byte 1 of the file (0xE2)", "ends inside a character"},
      {"\x1F\x8B\x08rest", ":1: byte 1 ", "gzip"},
  };
  for (const Case& c : cases) {
    core::write_text_file(dir.file("a.txt"), c.bytes);
    const std::string said = refusal(dir.file("a.txt"));
    EXPECT_NE(said.find(std::string("a.txt") + c.place), std::string::npos) << said;
    EXPECT_NE(said.find(c.what), std::string::npos) << said;
    EXPECT_EQ(said.find("Latin"), std::string::npos) << said;
    EXPECT_THROW(read_text(dir.file("a.txt")), core::Error);
  }
  core::write_text_file(dir.file("a.txt"), std::string("a stray zero \0 in a text", 24));
  EXPECT_EQ(refusal(dir.file("a.txt")), "");
}

TEST(Documents, MarksAndCarriageReturnsAreNoText) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.txt"), "\xEF\xBB\xBFone\r\ntwo\rthree\n\r\n");
  const Documents read = read_documents(dir.file("a.txt"));
  EXPECT_EQ(read.texts, std::vector<std::string>{"one\ntwo\nthree\n\n"});
  EXPECT_EQ(read.changes, "mark,line breaks");
  EXPECT_EQ(read_text(dir.file("a.txt")), read.texts.front());
  core::write_text_file(dir.file("a.txt"), "plain\n");
  EXPECT_EQ(read_documents(dir.file("a.txt")).changes, "");
}

TEST(Documents, ATextThatIsInNoFileIsReadAlike) {
  EXPECT_EQ(clean_text("\xEF\xBB\xBFone\r\ntwo\r", "--prompt"), "one\ntwo\n");
  EXPECT_EQ(clean_text("", "--prompt"), "");
  try {
    static_cast<void>(clean_text("caf\xE9", "--prompt"));
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_STREQ(e.what(), "--prompt: byte 3 of the text is not UTF-8; give it in that encoding");
  }
}

TEST(Documents, LinesOfJsonAndDirectories) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.jsonl"),
                        "{\"text\": \"one\\nline\", \"id\": 1}\r\n\n\"two\"\n{\"text\": \"\"}\n");
  const Documents lines = read_documents(dir.file("a.jsonl"));
  EXPECT_EQ(lines.texts, (std::vector<std::string>{"one\nline", "two"}));
  EXPECT_EQ(lines.changes, "documents");
  for (const auto& [line, told] :
       {std::pair("{\"messages\": []}", "a.jsonl:2: expected"),
        {"[1]", "a.jsonl:2: expected"},
        {"{\"text\": 3}", "a.jsonl:2: key \"text\" is 3, expected"},
        {"{\"text\": null}", "a.jsonl:2: key \"text\" is null, expected"},
        {"{\"text\": ", "a.jsonl:2: not JSON at byte 10 of the line (unexpected end"}}) {
    core::write_text_file(dir.file("a.jsonl"), "\"fine\"\n" + std::string(line) + "\n");
    EXPECT_NE(refusal(dir.file("a.jsonl")).find(told), std::string::npos)
        << refusal(dir.file("a.jsonl"));
  }
  const std::string folder = dir.file("texts");
  std::filesystem::create_directories(folder + "/more");
  EXPECT_NE(refusal(folder).find("no files"), std::string::npos);
  core::write_text_file(folder + "/b.txt", "second");
  core::write_text_file(folder + "/a.txt", "first");
  core::write_text_file(folder + "/more/c.jsonl", "\"third\"\n\"fourth\"\n");
  core::write_text_file(folder + "/.hidden", "\xFF");
  EXPECT_EQ(read_documents(folder).texts,
            (std::vector<std::string>{"first", "second", "third", "fourth"}));
  core::write_text_file(folder + "/d.txt", "\xE9");
  EXPECT_NE(refusal(folder).find("d.txt:1: byte 0"), std::string::npos);
  core::write_text_file(folder + "/config.json", "{}");
  EXPECT_NE(refusal(folder).find("model directory"), std::string::npos);
}

TEST(TokenStream, ControlTokensAndDocuments) {
  TokenizerData data = support::tiny_tokenizer(320);
  const Tokenizer tokenizer(data);
  const std::int32_t end = *data.eos;
  const auto ids = [&](const Documents& d, bool control, StreamStart start = StreamStart::plain) {
    return token_stream(tokenizer, d, {.control_tokens = control}, start).tokens;
  };
  const auto joined = [&](std::int32_t between) {
    std::vector<std::int32_t> out = tokenizer.encode("one", false);
    out.push_back(between);
    for (const std::int32_t id : tokenizer.encode("two", false)) out.push_back(id);
    return out;
  };
  const std::string written = "one" + data.tokens[0] + "two";
  EXPECT_EQ(ids({{written}}, true), joined(0));
  EXPECT_EQ(ids({{written}}, false), tokenizer.encode(written, false));
  EXPECT_GT(ids({{written}}, false).size(), ids({{written}}, true).size());
  EXPECT_EQ(ids({{"one", "two"}}, true), joined(end));
  EXPECT_EQ(ids({{"one", "two"}}, false), joined(end));
  EXPECT_EQ(ids({{"one", "two\n"}}, true, StreamStart::llama_cpp), joined(end));
  EXPECT_EQ(ids({{"plain text\n"}}, true), tokenizer.encode("plain text\n", false));
  EXPECT_EQ(describe_reading(tokenizer, {{written}}, {}), "control tokens");
  EXPECT_EQ(describe_reading(tokenizer, {{written}}, {.control_tokens = false}), "");
  EXPECT_EQ(describe_reading(tokenizer, {{"plain"}}, {}), "");
  data.eos.reset();
  EXPECT_THROW(token_stream(Tokenizer(data), {{"one", "two"}}), core::Error);
}

}  // namespace
}  // namespace espalier::text
