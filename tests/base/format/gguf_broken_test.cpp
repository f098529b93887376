// SPDX-License-Identifier: Apache-2.0
// Hostile GGUF files: a table of broken ones by name, truncation at every byte, and ten thousand
// bit flips of a header. Each must be refused (or read, where the flip hit a value) with an Error
// that names the file, without a crash or a large allocation.
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "core/rng.h"
#include "format/bytes.h"
#include "format/gguf.h"
#include "format/largest_allocation.h"
#include "format/memory_file.h"

namespace espalier::format {
namespace {

constexpr std::size_t kAllocationBound =
    4u << 20;  // the files here have less than 1 kB; the reading window may be 1 MiB

Bytes start(std::uint64_t n_tensors, std::uint64_t n_metadata) {
  Bytes b;
  b.raw("GGUF").u32(3).u64(n_tensors).u64(n_metadata);
  return b;
}
Bytes& tensor(Bytes& b, const char* name, std::uint64_t ne, std::uint32_t type,
              std::uint64_t offset) {
  return b.string(name).u32(1).u64(ne).u32(type).u64(offset);
}
constexpr std::uint64_t kMax = ~std::uint64_t{0};

struct Broken {
  const char* name;
  const char* message;  // part of what must be said
  std::function<std::string()> make;
};

const std::vector<Broken>& broken_files() {
  static const std::vector<Broken> files = {
      {"empty_file", "truncated", [] { return std::string(); }},
      {"wrong_magic", "not a GGUF file",
       [] { return Bytes().raw("GGUG").u32(3).u64(0).u64(0).text(); }},
      {"text_file", "not a GGUF file", [] { return std::string("{\"model_type\": \"llama\"}\n"); }},
      {"reversed_magic", "big-endian",
       [] { return Bytes().raw("FUGG").u32(3).u64(0).u64(0).text(); }},
      {"ggml_era_magic", "older than GGUF",
       [] { return Bytes().raw("tjgg").u32(3).u64(0).u64(0).text(); }},
      {"big_endian_version", "big-endian",
       [] { return Bytes().raw("GGUF").u32(0x03000000u).u64(0).u64(0).text(); }},
      {"version_1", "version 1", [] { return Bytes().raw("GGUF").u32(1).u64(0).u64(0).text(); }},
      {"version_4", "version 4", [] { return Bytes().raw("GGUF").u32(4).u64(0).u64(0).text(); }},
      {"too_many_tensors", "tensors, but the file is too small",
       [] { return start(kMax, 0).zeros(64).text(); }},
      {"too_many_keys", "metadata keys, but the file is too small",
       [] { return start(0, kMax / 2).zeros(64).text(); }},
      {"key_longer_than_file", "truncated", [] { return start(0, 1).u64(1000).zeros(64).text(); }},
      {"key_length_wraps", "truncated", [] { return start(0, 1).u64(kMax - 3).zeros(64).text(); }},
      {"key_too_long", "at most 65535",
       [] { return start(0, 1).string(std::string(70000, 'k')).u32(4).u32(1).text(); }},
      {"empty_key", "empty metadata key",
       [] { return start(0, 1).string("").u32(4).u32(1).text(); }},
      {"key_with_control_byte", "control byte",
       [] { return start(0, 1).string("a\nb").u32(4).u32(1).text(); }},
      {"duplicate_key", "occurs twice",
       [] { return start(0, 2).string("k").u32(4).u32(1).string("k").u32(4).u32(1).text(); }},
      {"unknown_value_type", "unknown value type 13",
       [] { return start(0, 1).string("k").u32(13).zeros(32).text(); }},
      {"bool_of_2", "must be 0 or 1", [] { return start(0, 1).string("k").u32(7).u8(2).text(); }},
      {"bool_of_2_in_array", "must be 0 or 1",
       [] { return start(0, 1).string("k").u32(9).u32(7).u64(2).u8(1).u8(2).text(); }},
      {"string_longer_than_file", "truncated",
       [] { return start(0, 1).string("k").u32(8).u64(1u << 30).zeros(16).text(); }},
      {"array_of_arrays", "array of arrays",
       [] { return start(0, 1).string("k").u32(9).u32(9).u64(1).zeros(32).text(); }},
      {"array_of_unknown_type", "unknown value type 99",
       [] { return start(0, 1).string("k").u32(9).u32(99).u64(1).zeros(32).text(); }},
      {"array_count_too_large", "too small for them",
       [] { return start(0, 1).string("k").u32(9).u32(0).u64(1000).zeros(32).text(); }},
      {"array_count_wraps", "too small for them",
       [] { return start(0, 1).string("k").u32(9).u32(12).u64(kMax / 8 + 2).zeros(32).text(); }},
      {"string_array_count_too_large", "too small for them",
       [] { return start(0, 1).string("k").u32(9).u32(8).u64(kMax).zeros(64).text(); }},
      {"string_in_array_too_long", "truncated",
       [] { return start(0, 1).string("k").u32(9).u32(8).u64(1).u64(kMax).zeros(32).text(); }},
      {"array_u64_beyond_2_53", "2^53",
       [] {
         return start(0, 1)
             .string("k")
             .u32(9)
             .u32(10)
             .u64(1)
             .u64((std::uint64_t{1} << 53) + 1)
             .text();
       }},
      {"alignment_not_power_of_two", "power of two",
       [] { return start(0, 1).string("general.alignment").u32(4).u32(48).text(); }},
      {"alignment_zero", "power of two",
       [] { return start(0, 1).string("general.alignment").u32(4).u32(0).text(); }},
      {"alignment_huge", "power of two",
       [] { return start(0, 1).string("general.alignment").u32(4).u32(1u << 31).text(); }},
      {"alignment_of_type_u64", "must be u32",
       [] { return start(0, 1).string("general.alignment").u32(10).u64(32).text(); }},
      {"empty_tensor_name", "empty tensor name",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "", 4, 0, 0).pad(32).zeros(32).text();
       }},
      {"tensor_name_too_long", "at most 64",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, std::string(65, 'n').c_str(), 4, 0, 0).pad(32).zeros(32).text();
       }},
      {"no_dimensions", "0 dimensions",
       [] { return start(1, 0).string("t").u32(0).u32(0).u64(0).pad(32).zeros(32).text(); }},
      {"five_dimensions", "5 dimensions",
       [] {
         return start(1, 0)
             .string("t")
             .u32(5)
             .u64(1)
             .u64(1)
             .u64(1)
             .u64(1)
             .u64(1)
             .u32(0)
             .u64(0)
             .pad(32)
             .zeros(32)
             .text();
       }},
      {"extent_zero", "must be at least 1",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 0, 0, 0).pad(32).zeros(32).text();
       }},
      {"extent_negative_as_signed", "overflows",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", kMax, 0, 0).pad(32).zeros(32).text();
       }},
      {"extents_overflow", "overflows",
       [] {
         return start(1, 0)
             .string("t")
             .u32(2)
             .u64(1ull << 40)
             .u64(1ull << 40)
             .u32(0)
             .u64(0)
             .pad(32)
             .zeros(32)
             .text();
       }},
      {"bytes_overflow", "overflows",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 1ull << 62, 0, 0).pad(32).zeros(32).text();
       }},
      {"unknown_tensor_type",
       "tensor t is of type q4_2, which is not supported; supported are f32, f16, q4_0",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 32, 4, 0).pad(32).zeros(32).text();
       }},
      {"row_not_whole_blocks", "not a multiple of the block of q8_0",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 33, 8, 0).pad(32).zeros(64).text();
       }},
      {"offset_unaligned", "multiple of the alignment",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 4, 0, 16).pad(32).zeros(64).text();
       }},
      {"offset_beyond_file", "truncated",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 4, 0, 1 << 20).pad(32).zeros(32).text();
       }},
      {"offset_wraps", "truncated",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 4, 0, kMax - 31).pad(32).zeros(32).text();
       }},
      {"data_truncated", "truncated",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 100, 0, 0).pad(32).zeros(399).text();
       }},
      {"data_missing", "truncated",
       [] {
         Bytes b = start(1, 0);
         return tensor(b, "t", 1, 0, 0).text();
       }},
      {"tensors_overlap", "overlap",
       [] {
         Bytes b = start(2, 0);
         tensor(b, "t", 16, 0, 0);
         return tensor(b, "u", 4, 0, 32).pad(32).zeros(96).text();
       }},
      {"tensors_at_the_same_place", "overlap",
       [] {
         Bytes b = start(2, 0);
         tensor(b, "t", 4, 0, 0);
         return tensor(b, "u", 4, 0, 0).pad(32).zeros(96).text();
       }},
      {"duplicate_tensor", "occurs twice",
       [] {
         Bytes b = start(2, 0);
         tensor(b, "t", 4, 0, 0);
         return tensor(b, "t", 4, 0, 32).pad(32).zeros(96).text();
       }},
  };
  return files;
}

class BrokenGguf : public testing::TestWithParam<std::size_t> {};

TEST_P(BrokenGguf, IsRefusedWithThePathAndTheReason) {
  const Broken& broken = broken_files()[GetParam()];
  support::MemoryFile memory;
  memory.assign(broken.make());
  const core::FileReader file(memory.path());
  support::reset_largest_allocation();
  try {
    GgufHeader::read(file);
    FAIL() << "accepted";
  } catch (const core::Error& e) {
    EXPECT_TRUE(e.kind() == core::ErrorKind::input || e.kind() == core::ErrorKind::unsupported)
        << e.exit_code();
    EXPECT_NE(std::string(e.what()).find(file.path()), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find(broken.message), std::string::npos) << e.what();
  }
  EXPECT_LE(support::largest_allocation(), kAllocationBound);
}
std::vector<std::size_t> all_indices() {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < broken_files().size(); ++i) indices.push_back(i);
  return indices;
}
INSTANTIATE_TEST_SUITE_P(Table, BrokenGguf, testing::ValuesIn(all_indices()),
                         [](const auto& param) {
                           return std::string(broken_files()[param.param].name);
                         });

TEST(BrokenGgufTable, HasAllItsLines) { EXPECT_EQ(broken_files().size(), 49u); }

// A right file with metadata of several kinds and two tensors that fill it to its last byte.
std::string right_file() {
  Bytes b = start(2, 4);
  b.string("general.architecture").u32(8).string("llama");
  b.string("llama.block_count").u32(4).u32(1);
  b.string("tokenizer.ggml.tokens").u32(9).u32(8).u64(3).string("<s>").string("a").string("b");
  b.string("tokenizer.ggml.scores").u32(9).u32(6).u64(3).f32(0).f32(1).f32(2);
  b.string("token_embd.weight").u32(2).u64(32).u64(3).u32(0).u64(0);
  b.string("output_norm.weight").u32(1).u64(32).u32(0).u64(384);
  b.pad(32);
  return b.zeros(384 + 128).text();
}

enum class Outcome { read, refused };
Outcome read(support::MemoryFile& memory, const std::string& text) {
  memory.assign(text);
  const core::FileReader file(memory.path());
  support::reset_largest_allocation();
  Outcome outcome = Outcome::read;
  try {
    GgufHeader::read(file);
  } catch (const core::Error& e) {
    outcome = Outcome::refused;
    EXPECT_TRUE(e.kind() == core::ErrorKind::input || e.kind() == core::ErrorKind::unsupported)
        << e.what();
    EXPECT_NE(std::string(e.what()).find(file.path()), std::string::npos) << e.what();
  }
  EXPECT_LE(support::largest_allocation(), kAllocationBound);
  return outcome;
}

TEST(BrokenGgufSweep, TruncationAtEveryByte) {
  support::MemoryFile memory;
  const std::string text = right_file();
  ASSERT_EQ(read(memory, text), Outcome::read);
  for (std::size_t n = 0; n < text.size(); ++n)
    ASSERT_EQ(read(memory, text.substr(0, n)), Outcome::refused) << n;
}

TEST(BrokenGgufSweep, BitFlipsOfTheHeader) {
  support::MemoryFile memory;
  const std::string text = right_file();
  const std::size_t header_bytes = text.size() - 512;
  core::Rng rng(2024);
  int refused = 0;
  for (int round = 0; round < 10000; ++round) {
    std::string mutated = text;
    const std::uint64_t flips = 1 + rng.below(3);
    for (std::uint64_t i = 0; i < flips; ++i) {
      char& c = mutated[rng.below(header_bytes)];
      c = static_cast<char>(c ^ (1 << rng.below(8)));
    }
    if (read(memory, mutated) == Outcome::refused) ++refused;
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(refused, 3000);  // many flips hit names and scores, which may hold anything
  EXPECT_LT(refused, 10000);
}

}  // namespace
}  // namespace espalier::format
