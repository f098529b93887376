// SPDX-License-Identifier: Apache-2.0
// safetensors written and read again: one file, shards with an index, replacement of one by the
// other, and what the writer refuses.
#include "format/safetensors.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "format/bytes.h"
#include "support/temp_dir.h"

namespace espalier::format {
namespace {

std::vector<std::byte> filled(std::size_t n, int value) {
  return std::vector<std::byte>(n, static_cast<std::byte>(value));
}

std::set<std::string> names(const std::string& directory) {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    found.insert(entry.path().filename().string());
  return found;
}

// n tensors of 64 bytes, named w.0, w.1, ..., filled with first, first + 1, ...
void write_set(const std::string& directory, int n, int first, std::uint64_t max_shard_bytes) {
  SafetensorsWriter writer(directory, max_shard_bytes);
  writer.set_metadata("format", "pt");
  for (int i = 0; i < n; ++i) writer.add_tensor("w." + std::to_string(i), FormatId::f32, {4, 4});
  EXPECT_EQ(writer.data_bytes(), static_cast<std::uint64_t>(64 * n));
  writer.begin();
  for (int i = 0; i < n; ++i) {
    writer.write(filled(10, first + i));
    writer.write(filled(54, first + i));
  }
  writer.finish();
}
void expect_set(const std::string& directory, int n, int first, int shards) {
  const SafetensorsSet set = SafetensorsSet::open_directory(directory);
  EXPECT_EQ(set.n_shards(), shards);
  ASSERT_EQ(set.tensors().size(), static_cast<std::size_t>(n));
  EXPECT_EQ(set.metadata().at("format"), "pt");
  for (int i = 0; i < n; ++i) {
    const SafeTensor* tensor = set.find("w." + std::to_string(i));
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->shape, (std::vector<std::int64_t>{4, 4}));
    std::vector<std::byte> bytes(60);
    set.read(*tensor, 4, bytes);
    EXPECT_EQ(bytes, filled(60, first + i));
  }
}

TEST(Safetensors, OneFileOfAllDtypes) {
  support::TempDir dir;
  const std::string path = dir.file("x.safetensors");
  SafetensorsWriter writer(path);
  writer.set_metadata("note", "caf\xC3\xA9 \"quoted\"\n");
  writer.add_tensor("b", FormatId::bf16, {3});
  writer.add_tensor("a", FormatId::f32, {});
  writer.add_tensor("c", FormatId::f16, {2, 1, 5});
  writer.begin();
  writer.write(filled(6, 1));
  writer.write(filled(4, 2));
  writer.write(filled(20, 3));
  writer.finish();
  const SafetensorsSet set = SafetensorsSet::open_file(path);
  ASSERT_EQ(set.tensors().size(), 3u);
  EXPECT_EQ(set.tensors()[0].name, "a");  // sorted
  EXPECT_EQ(set.metadata().at("note"), "caf\xC3\xA9 \"quoted\"\n");
  EXPECT_EQ(set.find("a")->shape, std::vector<std::int64_t>{});
  EXPECT_EQ(set.find("b")->dtype, FormatId::bf16);
  EXPECT_EQ(set.find("c")->bytes, 20u);
  EXPECT_EQ(set.find("d"), nullptr);
  EXPECT_EQ(set.find("b")->offset % 8, 0u);  // the data starts aligned
  std::vector<std::byte> bytes(20);
  set.read(*set.find("c"), 0, bytes);
  EXPECT_EQ(bytes, filled(20, 3));
  EXPECT_THROW(set.read(*set.find("c"), 1, bytes), core::Error);
  EXPECT_THROW(set.read(*set.find("c"), ~std::uint64_t{0}, bytes), core::Error);
}

// A caller that does not use every tensor may open files with dtypes that are not computed with.
TEST(Safetensors, OtherDtypesAndEmptyTensorsWhereTheyAreAllowed) {
  support::TempDir dir;
  const std::string path = dir.file("other.safetensors"),
                    json = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                           R"("b":{"dtype":"BOOL","shape":[3],"data_offsets":[8,11]},)"
                           R"("c":{"dtype":"F64","shape":[0,4],"data_offsets":[11,11]},)"
                           R"("d":{"dtype":"I64","shape":[1],"data_offsets":[11,19]}})";
  core::write_text_file(path, Bytes().u64(json.size()).raw(json).zeros(19).text());
  EXPECT_THROW(SafetensorsSet::open_file(path), core::Error);
  const SafetensorsSet set = SafetensorsSet::open_file(path, SafetensorsSet::Allowed::any);
  ASSERT_EQ(set.tensors().size(), 4u);
  EXPECT_EQ(set.find("a")->dtype, FormatId::f32);
  EXPECT_EQ(set.find("b")->stored, "BOOL");
  EXPECT_FALSE(set.find("b")->dtype);
  EXPECT_EQ(set.find("c")->bytes, 0u);
  EXPECT_EQ(set.find("d")->bytes, 8u);
  // Within one file the gap between tensors is still refused.
  const std::string gap = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})";
  core::write_text_file(path, Bytes().u64(gap.size()).raw(gap).zeros(3).text());
  EXPECT_THROW(SafetensorsSet::open_file(path, SafetensorsSet::Allowed::any), core::Error);
}

TEST(Safetensors, SmallSetIsOneFile) {
  support::TempDir dir;
  write_set(dir.path(), 4, 10, 256);
  EXPECT_EQ(names(dir.path()), (std::set<std::string>{"model.safetensors"}));
  expect_set(dir.path(), 4, 10, 1);
}

TEST(Safetensors, LargeSetIsShardedAtTheLimit) {
  support::TempDir dir;
  write_set(dir.path(), 5, 20, 128);
  EXPECT_EQ(
      names(dir.path()),
      (std::set<std::string>{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                             "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  expect_set(dir.path(), 5, 20, 3);
  const std::string index = core::read_text_file(dir.file("model.safetensors.index.json"));
  EXPECT_NE(index.find("\"total_size\": 320"), std::string::npos) << index;
}

TEST(Safetensors, TensorLargerThanTheLimitHasItsOwnShard) {
  support::TempDir dir;
  write_set(dir.path(), 3, 30, 50);
  expect_set(dir.path(), 3, 30, 3);
}

TEST(Safetensors, ReplacingLeavesNoTraceOfTheOldSet) {
  support::TempDir dir;
  write_set(dir.path(), 6, 1, 64);
  write_set(dir.path(), 5, 2, 128);  // fewer shards
  EXPECT_EQ(names(dir.path()).size(), 4u);
  expect_set(dir.path(), 5, 2, 3);
  write_set(dir.path(), 3, 3, 0);  // one file
  EXPECT_EQ(names(dir.path()), (std::set<std::string>{"model.safetensors"}));
  expect_set(dir.path(), 3, 3, 1);
  write_set(dir.path(), 4, 4, 64);  // shards again
  expect_set(dir.path(), 4, 4, 4);
}

TEST(Safetensors, UnfinishedWriterLeavesThePreviousSet) {
  support::TempDir dir;
  write_set(dir.path(), 4, 7, 64);
  const std::set<std::string> before = names(dir.path());
  {
    SafetensorsWriter writer(dir.path(), 64);
    for (int i = 0; i < 4; ++i) writer.add_tensor("w." + std::to_string(i), FormatId::f32, {4, 4});
    writer.begin();
    for (int i = 0; i < 3; ++i) writer.write(filled(64, 99));
    EXPECT_THROW(writer.finish(), core::Error);
  }
  EXPECT_EQ(names(dir.path()), before);
  expect_set(dir.path(), 4, 7, 4);
}

TEST(Safetensors, WithoutItsIndexASetOfShardsIsRefused) {
  support::TempDir dir;
  write_set(dir.path(), 4, 7, 64);
  std::filesystem::remove(dir.file("model.safetensors.index.json"));
  EXPECT_THROW(SafetensorsSet::open_directory(dir.path()), core::Error);
}

TEST(SafetensorsWriterTest, RefusesWrongUse) {
  support::TempDir dir;
  SafetensorsWriter writer(dir.file("a.safetensors"));
  writer.add_tensor("t", FormatId::f32, {2});
  EXPECT_THROW(writer.add_tensor("t", FormatId::f32, {2}), core::Error);
  EXPECT_THROW(writer.add_tensor("", FormatId::f32, {2}), core::Error);
  EXPECT_THROW(writer.add_tensor("__metadata__", FormatId::f32, {2}), core::Error);
  EXPECT_THROW(writer.add_tensor("q", FormatId::q8_0, {32}), core::Error);
  EXPECT_THROW(writer.add_tensor("n", FormatId::f32, {-1}), core::Error);
  EXPECT_THROW(
      writer.add_tensor("n", FormatId::f32, {std::int64_t{1} << 40, std::int64_t{1} << 40}),
      core::Error);
  EXPECT_THROW(writer.write(filled(8, 0)), core::Error);
  EXPECT_THROW(writer.finish(), core::Error);
  writer.begin();
  EXPECT_THROW(writer.begin(), core::Error);
  EXPECT_THROW(writer.set_metadata("k", "v"), core::Error);
  EXPECT_THROW(writer.write(filled(9, 0)), core::Error);
  writer.write(filled(8, 0));
  EXPECT_THROW(writer.write(filled(1, 0)), core::Error);
  writer.finish();
  EXPECT_THROW(writer.finish(), core::Error);
  SafetensorsWriter invalid(dir.file("b.safetensors"));
  invalid.add_tensor("\xFF\xFE", FormatId::f32, {2});
  EXPECT_THROW(invalid.begin(), core::Error);
}

}  // namespace
}  // namespace espalier::format
