// SPDX-License-Identifier: Apache-2.0
// Names of parts, and names beside files that are almost too long.
#include "core/parts.h"

#include <gtest/gtest.h>

#include <climits>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"

namespace espalier::core {
namespace {

TEST(Parts, NamesAreReadAndMade) {
  const auto name = part_name("a/b-00002-of-00013.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->prefix, "a/b");
  EXPECT_EQ(name->index, 1);
  EXPECT_EQ(name->of, 13);
  EXPECT_EQ(part_path(name->prefix, 1, 13), "a/b-00002-of-00013.gguf");
  for (const char* other :
       {"b-00000-of-00002.gguf", "b-00003-of-00002.gguf", "b-0001-of-0002.gguf",
        "b-00001-of-00002.safetensors", "b-0000x-of-00002.gguf", "b.gguf", "-00001-of-00002.gguf"})
    EXPECT_FALSE(part_name(other)) << other;
  EXPECT_THROW(part_path("b", 0, 100000), Error);
  EXPECT_THROW(part_path(std::string(240, 'b'), 0, 2), Error);
}

TEST(Parts, OnlyTheFirstOneBringsTheOthers) {
  const support::TempDir dir;
  for (const int i : {0, 1, 3}) write_text_file(part_path(dir.file("m"), i, 4), "12345");
  const std::string first = part_path(dir.file("m"), 0, 4), second = part_path(dir.file("m"), 1, 4);
  EXPECT_EQ(with_parts(first),
            (std::vector<std::string>{first, second, part_path(dir.file("m"), 3, 4)}));
  EXPECT_EQ(with_parts(second), std::vector<std::string>{second});
  EXPECT_EQ(bytes_with_parts(first), 15u);
}

TEST(Beside, LongNamesAreShortenedAndStayApart) {
  EXPECT_EQ(beside("a/b.gguf", ".tmp-1"), "a/b.gguf.tmp-1");
  const std::string one = "x/" + std::string(250, 'n') + ".gguf",
                    other = one.substr(0, 252) + "json";
  const std::string temporary = beside(one, ".tmp-12345");
  EXPECT_LE(std::filesystem::path(temporary).filename().string().size(), std::size_t{NAME_MAX});
  EXPECT_EQ(std::filesystem::path(temporary).parent_path(), "x");
  EXPECT_NE(temporary, beside(other, ".tmp-12345"));
  EXPECT_EQ(temporary, beside(one, ".tmp-12345"));
}

TEST(Beside, FilesOfEveryPossibleLengthAreWritten) {
  const support::TempDir dir;
  for (const std::size_t length : {244u, 245u, 250u, 255u}) {
    const std::string path = dir.file(std::string(length, 'n'));
    write_text_file(path, "text");
    EXPECT_EQ(read_text_file(path), "text") << length;
  }
  EXPECT_THROW(write_text_file(dir.file(std::string(256, 'n')), "text"), Error);
}

}  // namespace
}  // namespace espalier::core
