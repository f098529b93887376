// SPDX-License-Identifier: Apache-2.0
// A packed file changes nothing but where matrices come from, and is used for the file it was made
// from alone.
#include "runtime/packed_file.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "core/error.h"
#include "runtime/expect_error.h"
#include "runtime/plain_model.h"
#include "runtime/session.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

using core::ErrorKind;
using support::expect_error;

const support::PlainSizes kSizes{.vocab = 300,
                                 .hidden = 256,
                                 .head_dim = 32,
                                 .layers = {{4, 2, 512}, {4, 2, 256}}};  // 300: no whole groups

struct Packed {
  support::TempDir dir;
  std::string model = dir.file("m.gguf"), packed;
  core::ThreadPool pool{2};

  explicit Packed(format::FormatId format = format::FormatId::q8_0, std::uint64_t seed = 21) {
    write(format, seed);
    packed = pack().path;
  }
  void write(format::FormatId format, std::uint64_t seed) {
    support::PlainModel plain = support::random_model(kSizes, seed);
    support::write_gguf(plain, model, format);
  }
  PackResult pack(const char* isa = "") {
    return pack_file(model, kernels::select_isa(isa), pool, [](std::int64_t, std::int64_t) {});
  }
  Session open() const { return Session(model, {.threads = 2, .context = 64}); }
  std::vector<float> logits() const {
    Session session = open();
    std::vector<float> out;
    session.prefill_scored(support::random_tokens(20, 300, 1), 0,
                           [&](std::int64_t, std::span<const float> values) {
                             out.insert(out.end(), values.begin(), values.end());
                           });
    const auto last = session.decode_step(7);
    out.insert(out.end(), last.begin(), last.end());
    return out;
  }
};

// Where this processor's kernels read GGUF as it is, packing says so, and there is nothing else to
// see.
bool nothing_to_pack() {
  if (!PackedFile::path_of("m.gguf", kernels::select_isa()).empty()) return false;
  core::ThreadPool pool(1);
  expect_error(
      [&] { pack_file("m.gguf", kernels::select_isa(), pool, [](std::int64_t, std::int64_t) {}); },
      ErrorKind::unsupported, {"nothing to pack"});
  return true;
}

TEST(PackedFile, GivesTheSameBits) {
  if (nothing_to_pack()) return;
  for (const auto format : {format::FormatId::q8_0, format::FormatId::q4_1, format::FormatId::q4_k,
                            format::FormatId::q6_k}) {
    const Packed p(format);
    EXPECT_EQ(p.open().packed_file(), p.packed);
    EXPECT_EQ(Session(p.model, {.packed_file = false}).packed_file(), "")
        << "who does not ask for it does not get it";
    const std::vector<float> mapped = p.logits();
    std::filesystem::remove(p.packed);
    EXPECT_EQ(p.open().packed_file(), "");
    EXPECT_EQ(p.open().packed_refusal(), "");
    EXPECT_EQ(mapped, p.logits()) << format::info(format).name;
  }
}

TEST(PackedFile, BelongsToTheFileAndNotToItsTime) {
  if (nothing_to_pack()) return;
  const Packed p;
  using namespace std::chrono_literals;
  std::filesystem::last_write_time(p.model, std::filesystem::last_write_time(p.model) + 5s);
  EXPECT_EQ(p.open().packed_file(), p.packed) << "the same bytes with another time";
}

TEST(PackedFile, OfAnotherFileIsRefusedAndTheModelRunsAllTheSame) {
  if (nothing_to_pack()) return;
  Packed p, fresh(format::FormatId::q8_0, 22);
  std::filesystem::remove(fresh.packed);
  p.write(format::FormatId::q8_0, 22);  // as large as before
  EXPECT_EQ(p.open().packed_file(), "");
  EXPECT_NE(p.open().packed_refusal().find("another version"), std::string::npos)
      << p.open().packed_refusal();
  EXPECT_NE(p.open().packed_refusal().find("pack' again"), std::string::npos);
  EXPECT_EQ(p.logits(), fresh.logits());
  p.pack();
  EXPECT_EQ(p.open().packed_file(), p.packed);
  EXPECT_EQ(p.logits(), fresh.logits());
}

// As container images and some stores leave files: all of one time.
TEST(PackedFile, TheTimeAloneSaysNothing) {
  if (nothing_to_pack()) return;
  Packed p, fresh(format::FormatId::q8_0, 22);
  std::filesystem::remove(fresh.packed);
  const auto time = std::filesystem::last_write_time(p.model);
  const std::string whole = core::read_text_file(p.model);
  p.write(format::FormatId::q8_0, 22);
  std::filesystem::last_write_time(p.model, time);
  EXPECT_EQ(p.open().packed_file(), "");
  EXPECT_NE(p.open().packed_refusal().find("made from another version"), std::string::npos);
  EXPECT_EQ(p.logits(), fresh.logits());

  core::write_text_file(p.model, whole);
  std::filesystem::last_write_time(p.model, time);
  EXPECT_EQ(p.open().packed_file(), p.packed) << "the same bytes and the same time, another inode";
  // A byte at either end of every tensor, and of the metadata.
  const format::GgufHeader header = format::GgufHeader::read(core::FileReader(p.model));
  std::vector<std::uint64_t> places{whole.find("general.architecture") + 40};
  for (const format::GgufTensor& t : header.tensors()) {
    places.push_back(t.offset);
    places.push_back(t.offset + t.bytes - 1);
  }
  EXPECT_EQ(places.size(), 1 + 2 * header.tensors().size());
  const kernels::KernelTable& table = kernels::select_isa();
  for (const std::uint64_t place : places) {
    std::string changed = whole;
    changed[place] = static_cast<char>(changed[place] ^ 1);
    core::write_text_file(p.model, changed);
    std::filesystem::last_write_time(p.model, time);
    const core::FileReader model(p.model);
    const auto packed = PackedFile::open_beside({&model, 1}, parts_of(header), table);
    ASSERT_TRUE(packed);
    EXPECT_FALSE(packed->usable()) << "byte " << place;
  }
}

TEST(PackedFile, OfAnotherVersionIsRefused) {
  if (nothing_to_pack()) return;
  const Packed p;
  const std::vector<float> expected = p.logits();
  const std::string whole = core::read_text_file(p.packed);
  const std::size_t key = whole.find("espalier.packed.layout");
  ASSERT_NE(key, std::string::npos);
  std::string newer = whole, older = whole;
  newer[key + 26] = static_cast<char>(newer[key + 26] + 1);  // the number behind name and type
  older[key + 21] = 'x';                                     // no such key
  for (const std::string& other : {newer, older}) {
    core::write_text_file(p.packed, other);
    EXPECT_EQ(p.open().packed_file(), "");
    EXPECT_NE(p.open().packed_refusal().find("another layout"), std::string::npos)
        << p.open().packed_refusal();
    EXPECT_EQ(p.logits(), expected);
  }
}

// A new file in its place changes nothing for who has the old one open; writing into it does.
TEST(PackedFile, WrittenToWhileInUse) {
  if (nothing_to_pack()) return;
  const auto write_into = [](const std::string& path) {
    using namespace std::chrono_literals;
    std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + 1s);
  };
  for (const bool packed : {false, true}) {
    const Packed p;
    Session session = p.open();
    session.check_unchanged();
    const std::string& file = packed ? p.packed : p.model;
    core::write_text_file(file, core::read_text_file(file));
    session.check_unchanged();
    Session again = p.open();
    write_into(file);
    session.check_unchanged();
    expect_error([&] { again.check_unchanged(); }, ErrorKind::input,
                 {file, "written to while it was in use"});
  }
}

TEST(PackedFile, BrokenOnesAreRefused) {
  if (nothing_to_pack()) return;
  const Packed p;
  const std::vector<float> expected = p.logits();
  const std::string whole = core::read_text_file(p.packed);
  std::string other = whole;
  const std::size_t name = other.find("espalier.packed.rows");
  ASSERT_NE(name, std::string::npos);
  other[name + 24] =
      static_cast<char>(other[name + 24] + 1);  // behind the name and the type: the number
  for (const std::string& broken :
       {std::string(), whole.substr(0, 100), whole.substr(0, whole.size() / 2),
        std::string(4096, 'x'), other, core::read_text_file(p.model)}) {
    core::write_text_file(p.packed, broken);
    EXPECT_EQ(p.open().packed_file(), "");
    EXPECT_NE(p.open().packed_refusal(), "");
    EXPECT_EQ(p.logits(), expected);
  }
}

TEST(PackedFile, AMissingMatrixIsAnError) {
  if (nothing_to_pack()) return;
  const Packed p;
  std::string bytes = core::read_text_file(p.packed);
  const std::size_t name = bytes.find("blk.1.ffn_down.weight@0");
  ASSERT_NE(name, std::string::npos);
  bytes[name + 4] = '7';
  core::write_text_file(p.packed, bytes);
  expect_error([&] { p.open(); }, ErrorKind::input,
               {p.packed, "blk.1.ffn_down.weight@0", "missing"});
}

TEST(PackedFile, WhereNothingIsPackedItSaysSo) {
  if (nothing_to_pack()) return;
  Packed p;
  EXPECT_EQ(PackedFile::path_of("m.gguf", kernels::select_isa("reference")), "");
  expect_error([&] { p.pack("reference"); }, ErrorKind::unsupported, {"reference"});
  p.write(format::FormatId::f16, 21);
  expect_error([&] { p.pack(); }, ErrorKind::unsupported, {"F16"});
}

}  // namespace
}  // namespace espalier::runtime
