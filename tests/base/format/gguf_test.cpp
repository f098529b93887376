// SPDX-License-Identifier: Apache-2.0
// GGUF written and read again: every value type, bytes identical after a round trip, typed access,
// and what the writer refuses.
#include "format/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "core/error.h"
#include "format/bytes.h"
#include "support/growth.h"
#include "support/temp_dir.h"

namespace espalier::format {
namespace {

std::vector<std::byte> pattern(std::uint64_t n, int seed) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i)
    bytes[i] = static_cast<std::byte>((i * 31 + static_cast<std::size_t>(seed)) & 0xFF);
  return bytes;
}

// A file with one value of each type, built by hand.
std::string every_type() {
  Bytes b;
  b.raw("GGUF").u32(3).u64(2).u64(21);
  b.string("a.u8").u32(0).u8(255);
  b.string("a.i8").u32(1).number(std::int8_t{-128});
  b.string("a.u16").u32(2).number(std::uint16_t{65535});
  b.string("a.i16").u32(3).number(std::int16_t{-32768});
  b.string("a.u32").u32(4).u32(0xFFFFFFFFu);
  b.string("a.i32").u32(5).number(std::int32_t{-5});
  b.string("a.f32").u32(6).f32(0.1f);
  b.string("a.true").u32(7).u8(1);
  b.string("a.false").u32(7).u8(0);
  b.string("a.text").u32(8).string("caf\xC3\xA9");
  b.string("a.bytes").u32(8).string(std::string_view("\x80\x00\xFF", 3));
  b.string("a.u64").u32(10).u64(std::numeric_limits<std::uint64_t>::max());
  b.string("a.i64").u32(11).number(std::numeric_limits<std::int64_t>::min());
  b.string("a.f64").u32(12).number(0.1);
  b.string("a.nan").u32(6).f32(std::numeric_limits<float>::quiet_NaN());
  b.string("b.i32s")
      .u32(9)
      .u32(5)
      .u64(3)
      .number(std::int32_t{-1})
      .number(std::int32_t{0})
      .number(std::int32_t{7});
  b.string("b.f32s").u32(9).u32(6).u64(2).f32(-0.0f).f32(1e-42f);
  b.string("b.bools").u32(9).u32(7).u64(2).u8(1).u8(0);
  b.string("b.texts").u32(9).u32(8).u64(2).string("").string("x");
  b.string("b.none").u32(9).u32(4).u64(0);
  b.string("b.u64s").u32(9).u32(10).u64(1).u64(std::uint64_t{1} << 53);
  b.string("first").u32(2).u64(32).u64(3).u32(8).u64(0);
  b.string("second").u32(1).u64(5).u32(0).u64(128);
  b.pad(32);
  b.raw(std::string(102, 'q')).zeros(26).raw(std::string(20, 'f')).zeros(12);
  return b.text();
}

void copy(const std::string& from, const std::string& to) {
  const core::FileReader file(from);
  const GgufHeader header = GgufHeader::read(file);
  GgufWriter writer(to, header.alignment());
  for (const auto& [key, value] : header.metadata()) writer.set(key, value);
  for (const GgufTensor& tensor : header.tensors())
    writer.add_tensor(tensor.name, tensor.ne, tensor.format);
  EXPECT_EQ(writer.planned_bytes(), file.size());
  writer.begin();
  for (const GgufTensor& tensor : header.tensors()) {
    std::vector<std::byte> bytes(tensor.bytes);
    file.read(tensor.offset, bytes);
    writer.write(bytes);
  }
  writer.finish();
}

TEST(Gguf, RoundTripKeepsEveryByte) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.gguf"), every_type());
  copy(dir.file("a.gguf"), dir.file("b.gguf"));
  EXPECT_EQ(core::read_text_file(dir.file("b.gguf")), every_type());
}

TEST(Gguf, TypedAccess) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.gguf"), every_type());
  const GgufHeader header = GgufHeader::read(core::FileReader(dir.file("a.gguf")));
  ASSERT_EQ(header.metadata().size(), 21u);
  EXPECT_EQ(header.metadata()[3].first, "a.i16");
  EXPECT_EQ(header.integer("a.u8"), 255);
  EXPECT_EQ(header.integer("a.i16"), -32768);
  EXPECT_EQ(header.integer("a.i64"), std::numeric_limits<std::int64_t>::min());
  EXPECT_THROW(header.integer("a.u64"), core::Error);  // beyond int64
  EXPECT_FLOAT_EQ(static_cast<float>(header.real("a.f32")), 0.1f);
  EXPECT_EQ(header.real("a.f64"), 0.1);
  EXPECT_EQ(header.real("a.i32"), -5.0);
  EXPECT_EQ(header.text("a.text"), "caf\xC3\xA9");
  EXPECT_EQ(header.optional_text("a.bytes")->size(), 3u);
  EXPECT_EQ(header.optional_boolean("a.true"), true);
  EXPECT_EQ(header.optional_boolean("a.false"), false);
  EXPECT_EQ(header.array("b.i32s").numbers, (std::vector<double>{-1, 0, 7}));
  EXPECT_EQ(header.array("b.texts").strings, (std::vector<std::string>{"", "x"}));
  EXPECT_TRUE(header.array("b.none").numbers.empty());
  EXPECT_EQ(header.optional_integer("absent"), std::nullopt);
  EXPECT_EQ(header.optional_real("absent"), std::nullopt);
  EXPECT_EQ(header.optional_text("absent"), std::nullopt);
  EXPECT_EQ(header.optional_boolean("absent"), std::nullopt);
  EXPECT_EQ(header.optional_array("absent"), nullptr);
  const auto refusal = [&](auto&& access) -> std::string {
    try {
      access();
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::input);
      return e.what();
    }
    return "accepted";
  };
  const std::string missing = refusal([&] { header.integer("absent"); });
  EXPECT_NE(missing.find("absent is missing"), std::string::npos) << missing;
  EXPECT_NE(missing.find("a.gguf"), std::string::npos);
  const std::string wrong = refusal([&] { header.integer("a.text"); });
  EXPECT_NE(wrong.find("is of type string, expected an integer"), std::string::npos) << wrong;
  EXPECT_NE(refusal([&] { header.text("a.u8"); }).find("u8"), std::string::npos);
  EXPECT_NE(refusal([&] { header.real("a.true"); }).find("bool"), std::string::npos);
  EXPECT_NE(refusal([&] { header.array("a.f32"); }).find("expected an array"), std::string::npos);
  EXPECT_NE(refusal([&] { header.optional_boolean("a.u8"); }).find("expected a bool"),
            std::string::npos);
}

TEST(Gguf, TensorsAreWhereTheHeaderSays) {
  support::TempDir dir;
  core::write_text_file(dir.file("a.gguf"), every_type());
  const core::FileReader file(dir.file("a.gguf"));
  const GgufHeader header = GgufHeader::read(file);
  ASSERT_EQ(header.tensors().size(), 2u);
  const GgufTensor* first = header.tensor("first");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->format, FormatId::q8_0);
  EXPECT_EQ(first->cols(), 32);
  EXPECT_EQ(first->rows(), 3);
  EXPECT_EQ(first->bytes, 102u);
  EXPECT_EQ(first->offset, header.data_offset());
  const GgufTensor* second = header.tensor("second");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->offset, header.data_offset() + 128);
  std::string bytes(20, ' ');
  file.read(second->offset, std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
  EXPECT_EQ(bytes, std::string(20, 'f'));
  EXPECT_EQ(header.tensor("third"), nullptr);
}

TEST(Gguf, MadeValuesReadBack) {
  support::TempDir dir;
  {
    GgufWriter writer(dir.file("a.gguf"), 64);
    writer.set("u32", GgufValue::u32(7));
    writer.set("u32", GgufValue::u32(8));  // replaces
    writer.set("i32", GgufValue::i32(-7));
    writer.set("u64", GgufValue::u64(std::uint64_t{1} << 60));
    writer.set("f32", GgufValue::f32(1.5f));
    writer.set("boolean", GgufValue::boolean(true));
    writer.set("string", GgufValue::string("text"));
    writer.set("strings", GgufValue::strings({"a", "b"}));
    writer.set("i32s", GgufValue::i32s({1, -2}));
    writer.set("f32s", GgufValue::f32s({0.5f, 0.1f}));
    writer.begin();
    writer.finish();
  }
  const GgufHeader header = GgufHeader::read(core::FileReader(dir.file("a.gguf")));
  EXPECT_EQ(header.alignment(), 64u);
  EXPECT_EQ(header.metadata().size(), 10u);
  EXPECT_EQ(header.integer("u32"), 8);
  EXPECT_EQ(header.integer("i32"), -7);
  EXPECT_EQ(header.integer("u64"), std::int64_t{1} << 60);
  EXPECT_EQ(header.real("f32"), 1.5);
  EXPECT_EQ(header.optional_boolean("boolean"), true);
  EXPECT_EQ(header.text("string"), "text");
  EXPECT_EQ(header.array("strings").strings, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(header.array("i32s").numbers, (std::vector<double>{1, -2}));
  EXPECT_EQ(static_cast<float>(header.array("f32s").numbers[1]), 0.1f);
}

TEST(Gguf, EveryFormatInPiecesAndPadded) {
  support::TempDir dir;
  GgufWriter writer(dir.file("a.gguf"));
  std::vector<std::vector<std::byte>> contents;
  for (const QuantFormat& format : all_formats()) {
    writer.add_tensor("t." + std::string(format.name), {format.block, 3}, format.id);
    contents.push_back(pattern(static_cast<std::uint64_t>(format.block_bytes * 3),
                               static_cast<int>(contents.size())));
  }
  const std::uint64_t planned = writer.planned_bytes();
  writer.begin();
  for (const auto& bytes : contents) {
    writer.write(std::span(bytes).first(1));
    writer.write({});
    writer.write(std::span(bytes).subspan(1));
  }
  writer.finish();
  EXPECT_EQ(std::filesystem::file_size(dir.file("a.gguf")), planned);
  const core::FileReader file(dir.file("a.gguf"));
  const GgufHeader header = GgufHeader::read(file);
  ASSERT_EQ(header.tensors().size(), all_formats().size());
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const GgufTensor& tensor = header.tensors()[i];
    EXPECT_EQ(tensor.offset % 32, 0u);
    std::vector<std::byte> bytes(tensor.bytes);
    file.read(tensor.offset, bytes);
    EXPECT_EQ(bytes, contents[i]) << tensor.name;
  }
}

TEST(GgufWriterTest, RefusesWrongUse) {
  support::TempDir dir;
  const std::string path = dir.file("a.gguf");
  core::write_text_file(path, "previous");
  const std::vector<std::byte> four(4), eight(8);
  {
    GgufWriter writer(path);
    writer.add_tensor("t", {1}, FormatId::f32);
    EXPECT_THROW(writer.add_tensor("t", {1}, FormatId::f32), core::Error);
    EXPECT_THROW(writer.add_tensor("", {1}, FormatId::f32), core::Error);
    EXPECT_THROW(writer.add_tensor(std::string(64, 'n'), {1}, FormatId::f32), core::Error);
    EXPECT_THROW(writer.add_tensor("u", {}, FormatId::f32), core::Error);
    EXPECT_THROW(writer.add_tensor("u", {1, 1, 1, 1, 1}, FormatId::f32), core::Error);
    EXPECT_THROW(writer.add_tensor("u", {0}, FormatId::f32), core::Error);
    EXPECT_THROW(writer.set("general.alignment", GgufValue::u32(64)), core::Error);
    EXPECT_THROW(writer.write(four), core::Error);
    EXPECT_THROW(writer.finish(), core::Error);
    try {
      writer.add_tensor("u", {100}, FormatId::q4_k);
      ADD_FAILURE();
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find("tensor u"), std::string::npos) << e.what();
    }
    writer.begin();
    EXPECT_THROW(writer.begin(), core::Error);
    EXPECT_THROW(writer.set("k", GgufValue::u32(1)), core::Error);
    EXPECT_THROW(writer.add_tensor("u", {1}, FormatId::f32), core::Error);
    EXPECT_THROW(writer.finish(), core::Error);
    EXPECT_THROW(writer.write(eight), core::Error);
    writer.write(four);
    EXPECT_THROW(writer.write(four), core::Error);
  }
  EXPECT_EQ(core::read_text_file(path), "previous");  // never finished
  EXPECT_THROW(GgufWriter(path, 33), core::Error);
  GgufWriter writer(path);
  writer.set("k", GgufValue{GgufType::u8, std::uint64_t{256}});
  EXPECT_THROW(writer.begin(), core::Error);
  writer.set("k", GgufValue{GgufType::u8, std::int64_t{1}});  // the wrong alternative
  EXPECT_THROW(writer.begin(), core::Error);
  writer.set("k", GgufValue{GgufType::array, std::shared_ptr<const GgufArray>()});
  EXPECT_THROW(writer.begin(), core::Error);
  for (const double wrong : {0.5, 300.0, -1.0, std::nan("")}) {
    auto array = std::make_shared<GgufArray>(GgufArray{GgufType::u8, {}, {wrong}});
    writer.set("k", GgufValue{GgufType::array, std::shared_ptr<const GgufArray>(array)});
    EXPECT_THROW(writer.begin(), core::Error) << wrong;
  }
}

TEST(Gguf, Version2AndMissingFinalPaddingAreRead) {
  support::TempDir dir;
  std::string text = every_type();
  text[4] = 2;
  text.resize(text.size() - 12);
  core::write_text_file(dir.file("a.gguf"), text);
  EXPECT_EQ(GgufHeader::read(core::FileReader(dir.file("a.gguf"))).tensors().size(), 2u);
}

// The time of opening a file grows with its vocabulary, not with its square.
TEST(Gguf, LargeVocabularyIsReadFast) {
  support::TempDir dir;
  const auto file_of = [&dir](int n) {
    std::vector<std::string> tokens, merges;
    for (int i = 0; i < n; ++i) {
      tokens.push_back("token" + std::to_string(i));
      merges.push_back("tok en" + std::to_string(i));
    }
    const std::string path = dir.file(std::to_string(n) + ".gguf");
    GgufWriter writer(path);
    writer.set("tokenizer.ggml.tokens", GgufValue::strings(tokens));
    writer.set("tokenizer.ggml.merges", GgufValue::strings(merges));
    writer.set("tokenizer.ggml.token_type",
               GgufValue::i32s(std::vector<std::int32_t>(static_cast<std::size_t>(n), 1)));
    writer.begin();
    writer.finish();
    return core::FileReader(path);
  };
  const auto read = [](const core::FileReader& file) {
    EXPECT_EQ(GgufHeader::read(file).array("tokenizer.ggml.tokens").strings[6249], "token6249");
  };
  EXPECT_LT(support::growth(read, file_of(6250), file_of(50000)), support::kLinear);
}

}  // namespace
}  // namespace espalier::format
