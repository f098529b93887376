// SPDX-License-Identifier: Apache-2.0
// Hostile safetensors: broken files and indices by name, truncation at every byte, and bit flips of
// the header. Each must be refused (or read, where the flip hit a name) with an Error that names
// the file, without a crash or a large allocation.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "core/error.h"
#include "core/rng.h"
#include "format/bytes.h"
#include "format/largest_allocation.h"
#include "format/memory_file.h"
#include "format/safetensors.h"
#include "support/temp_dir.h"

namespace espalier::format {
namespace {

constexpr std::size_t kAllocationBound = 1u << 20;  // the files here have less than half of it

std::string file(const std::string& json, std::size_t data_bytes) {
  return Bytes().u64(json.size()).raw(json).zeros(data_bytes).text();
}
std::string repeated(const std::string& text, int n) {
  std::string all;
  for (int i = 0; i < n; ++i) all += text;
  return all;
}

struct Broken {
  const char* name;
  const char* message;
  std::string content;
};

const std::vector<Broken>& broken_files() {
  static const std::vector<Broken> files = {
      {"empty_file", "truncated", ""},
      {"seven_bytes", "truncated", "1234567"},
      {"header_longer_than_file", "truncated", Bytes().u64(100).raw("{}").text()},
      {"header_length_wraps", "truncated", Bytes().u64(~std::uint64_t{0} - 3).raw("{}").text()},
      {"no_header", "does not start with '{'", Bytes().u64(0).text()},
      {"not_json", "does not start with '{'", file("pickle", 0)},
      {"array_instead_of_object", "does not start with '{'", file("[]", 0)},
      {"json_cut", "JSON is broken",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 4)},
      {"json_with_trailing_text", "JSON is broken",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} x)", 4)},
      {"json_not_utf8", "JSON is broken",
       file("{\"\xFF\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4)},
      {"nested_deeply", "unexpected an object", file(repeated("{\"a\":", 100000), 0)},
      {"arrays_nested_deeply", "unexpected an array", file("{\"a\":" + repeated("[", 100000), 0)},
      {"shape_nested", "unexpected an array",
       file(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4)},
      {"tensor_is_a_number", "unexpected a number", file(R"({"a":1})", 0)},
      {"tensor_is_null", "unexpected null", file(R"({"a":null})", 0)},
      {"dtype_missing", "lacks dtype", file(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4)},
      {"shape_missing", "lacks shape", file(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4)},
      {"offsets_missing", "lacks data_offsets", file(R"({"a":{"dtype":"F32","shape":[1]}})", 4)},
      {"dtype_unsupported", "tensor a has dtype I64",
       file(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8)},
      {"dtype_lower_case", "tensor a has dtype f32",
       file(R"({"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}})", 4)},
      {"dtype_is_a_number", "unexpected a number",
       file(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", 4)},
      {"unknown_field", "unexpected a string",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"device":"cpu"}})", 4)},
      {"field_twice", "occurs twice",
       file(R"({"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4)},
      {"tensor_twice", "occurs twice",
       file(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           8)},
      {"empty_tensor_name", "empty name",
       file(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4)},
      {"negative_extent", "negative number",
       file(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4)},
      {"fractional_extent", "a fraction",
       file(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4)},
      {"extent_beyond_64_bits", "too large for 64 bits",
       file(R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4)},
      {"extent_zero", "extent of 0",
       file(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 0)},
      {"extents_overflow", "overflows",
       file(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4)},
      {"too_many_dimensions", "more than 8",
       file(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4)},
      {"one_offset", "must be [begin, end]",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4)},
      {"three_offsets", "must be [begin, end]",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8)},
      {"offsets_reversed", "must be [begin, end]",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4)},
      {"offsets_beyond_file", "ends at data offset 8",
       file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4)},
      {"size_not_shape", "need 8",
       file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4)},
      {"gap_before_first", "a gap",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)},
      {"gap_between", "a gap",
       file(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
           12)},
      {"overlap", "overlaps",
       file(
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           8)},
      {"data_after_last", "the tensors end at",
       file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8)},
      {"metadata_not_text", "unexpected a number", file(R"({"__metadata__":{"k":1}})", 0)},
      {"metadata_is_text", "unexpected a string", file(R"({"__metadata__":"pt"})", 0)},
      {"metadata_key_twice", "twice", file(R"({"__metadata__":{"k":"1","k":"2"}})", 0)},
      {"metadata_nested", "unexpected an object", file(R"({"__metadata__":{"k":{}}})", 0)},
  };
  return files;
}

void expect_refusal(const std::function<void()>& open, const std::string& place,
                    const std::string& message) {
  support::reset_largest_allocation();
  try {
    open();
    ADD_FAILURE() << "accepted";
  } catch (const core::Error& e) {
    EXPECT_TRUE(e.kind() == core::ErrorKind::input || e.kind() == core::ErrorKind::unsupported)
        << e.exit_code();
    EXPECT_NE(std::string(e.what()).find(place), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
  }
  EXPECT_LE(support::largest_allocation(), kAllocationBound);
}

class BrokenSafetensors : public testing::TestWithParam<std::size_t> {};
TEST_P(BrokenSafetensors, IsRefusedWithThePathAndTheReason) {
  const Broken& broken = broken_files()[GetParam()];
  support::MemoryFile memory;
  memory.assign(broken.content);
  expect_refusal([&] { SafetensorsSet::open_file(memory.path()); }, memory.path(), broken.message);
}
std::vector<std::size_t> indices(std::size_t n) {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < n; ++i) all.push_back(i);
  return all;
}
INSTANTIATE_TEST_SUITE_P(Table, BrokenSafetensors,
                         testing::ValuesIn(indices(broken_files().size())), [](const auto& param) {
                           return std::string(broken_files()[param.param].name);
                         });

// Indices over two right shards, s1 with tensor a and s2 with tensor b.
const std::vector<Broken>& broken_indices() {
  static const std::vector<Broken> files = {
      {"empty", "JSON is broken", ""},
      {"no_weight_map", "no weight_map", R"({"metadata":{"total_size":8}})"},
      {"weight_map_empty", "no weight_map, or an empty one", R"({"weight_map":{}})"},
      {"weight_map_twice", "weight_map occurs twice",
       R"({"weight_map":{"a":"s1"},"weight_map":{"b":"s2"}})"},
      {"weight_map_is_a_list", "unexpected an array", R"({"weight_map":["a"]})"},
      {"weight_map_nested", "unexpected an object", R"({"weight_map":{"a":{"file":"s1"}}})"},
      {"file_is_a_number", "unexpected a number", R"({"weight_map":{"a":1}})"},
      {"unknown_section", "unknown key extra", R"({"extra":1,"weight_map":{"a":"s1","b":"s2"}})"},
      {"metadata_nested_deeply", "unexpected an object",
       "{\"metadata\":" + repeated("{\"a\":", 100000)},
      {"path_outside", "not a plain file name", R"({"weight_map":{"a":"../s1","b":"s2"}})"},
      {"path_absolute", "not a plain file name", R"({"weight_map":{"a":"/etc/passwd","b":"s2"}})"},
      {"path_empty", "not a plain file name", R"({"weight_map":{"a":"","b":"s2"}})"},
      {"path_is_parent", "not a plain file name", R"({"weight_map":{"a":"..","b":"s2"}})"},
      {"tensor_twice", "has tensor a twice", R"({"weight_map":{"a":"s1","a":"s2"}})"},
      {"shard_missing", "cannot open", R"({"weight_map":{"a":"s1","b":"s3"}})"},
      {"tensor_missing_in_shard", "does not hold",
       R"({"weight_map":{"a":"s1","b":"s2","c":"s2"}})"},
      {"tensor_in_another_shard", "it is in", R"({"weight_map":{"a":"s2","b":"s1"}})"},
      {"tensor_not_listed", "does not list", R"({"weight_map":{"a":"s1","c":"s2"}})"},
  };
  return files;
}
std::string one_tensor(const std::string& name) {
  return file("{\"" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
}

class BrokenIndex : public testing::TestWithParam<std::size_t> {};
TEST_P(BrokenIndex, IsRefusedWithThePathAndTheReason) {
  support::TempDir dir;
  core::write_text_file(dir.file("s1"), one_tensor("a"));
  core::write_text_file(dir.file("s2"), one_tensor("b"));
  core::write_text_file(
      dir.file("model.safetensors.index.json"),
      R"({"metadata":{"total_size":8,"by":{}},"weight_map":{"a":"s1","b":"s2"}})");
  ASSERT_EQ(SafetensorsSet::open_directory(dir.path()).tensors().size(), 2u);
  const Broken& broken = broken_indices()[GetParam()];
  core::write_text_file(dir.file("model.safetensors.index.json"), broken.content);
  expect_refusal([&] { SafetensorsSet::open_directory(dir.path()); }, dir.path(), broken.message);
}
INSTANTIATE_TEST_SUITE_P(Table, BrokenIndex, testing::ValuesIn(indices(broken_indices().size())),
                         [](const auto& param) {
                           return std::string(broken_indices()[param.param].name);
                         });

TEST(BrokenSafetensorsTables, HaveAllTheirLines) {
  EXPECT_EQ(broken_files().size(), 44u);
  EXPECT_EQ(broken_indices().size(), 18u);
}

TEST(BrokenSafetensorsSet, TheSameTensorInTwoShards) {
  support::TempDir dir;
  core::write_text_file(dir.file("s1"), one_tensor("a"));
  core::write_text_file(dir.file("s2"), one_tensor("a"));
  core::write_text_file(dir.file("model.safetensors.index.json"),
                        R"({"weight_map":{"a":"s1","b":"s2"}})");
  expect_refusal([&] { SafetensorsSet::open_directory(dir.path()); }, dir.path(),
                 "also in another shard");
}

TEST(BrokenSafetensorsSet, DirectoryWithoutAModel) {
  support::TempDir dir;
  expect_refusal([&] { SafetensorsSet::open_directory(dir.path()); }, dir.path(),
                 "neither model.safetensors nor");
  expect_refusal([&] { SafetensorsSet::open_file(dir.file("absent")); }, dir.file("absent"),
                 "cannot open");
}

std::string right_file() {
  return file(
      R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}} )",
      32);
}
bool reads(support::MemoryFile& memory, const std::string& text) {
  memory.assign(text);
  support::reset_largest_allocation();
  bool read = true;
  try {
    SafetensorsSet::open_file(memory.path());
  } catch (const core::Error& e) {
    read = false;
    EXPECT_TRUE(e.kind() == core::ErrorKind::input || e.kind() == core::ErrorKind::unsupported)
        << e.what();
    EXPECT_NE(std::string(e.what()).find(memory.path()), std::string::npos) << e.what();
  }
  EXPECT_LE(support::largest_allocation(), kAllocationBound);
  return read;
}

TEST(BrokenSafetensorsSweep, TruncationAtEveryByte) {
  support::MemoryFile memory;
  const std::string text = right_file();
  ASSERT_TRUE(reads(memory, text));
  for (std::size_t n = 0; n < text.size(); ++n) ASSERT_FALSE(reads(memory, text.substr(0, n))) << n;
}

TEST(BrokenSafetensorsSweep, BitFlipsOfTheHeader) {
  support::MemoryFile memory;
  const std::string text = right_file();
  core::Rng rng(2025);
  int refused = 0;
  for (int round = 0; round < 10000; ++round) {
    std::string mutated = text;
    const std::uint64_t flips = 1 + rng.below(3);
    for (std::uint64_t i = 0; i < flips; ++i) {
      char& c = mutated[rng.below(text.size() - 32)];
      c = static_cast<char>(c ^ (1 << rng.below(8)));
    }
    if (!reads(memory, mutated)) ++refused;
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(refused, 5000);
  EXPECT_LT(refused, 10000);
}

}  // namespace
}  // namespace espalier::format
