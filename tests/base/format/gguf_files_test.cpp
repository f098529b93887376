// SPDX-License-Identifier: Apache-2.0
// Split models: written in parts of at most so many bytes, read as one, and refused where a part is
// not the first, missing, or of another model.
#include "format/gguf_files.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "core/parts.h"
#include "support/refusal.h"
#include "support/temp_dir.h"

namespace espalier::format {
namespace {

namespace fs = std::filesystem;
using support::refusal;

// Six tensors of 400 bytes with values that tell them apart.
void declare(GgufWriter& writer, const std::string& name) {
  writer.set("general.name", GgufValue::string(name));
  for (int i = 0; i < 6; ++i) writer.add_tensor("t" + std::to_string(i), {100}, FormatId::f32);
}
std::vector<std::string> write(const std::string& path, std::uint64_t part_bytes,
                               const std::string& name = "model", int alignment = 32) {
  GgufWriter writer(path, static_cast<std::uint32_t>(alignment), part_bytes);
  declare(writer, name);
  const std::vector<std::string> paths = writer.paths();
  const std::uint64_t planned = writer.planned_bytes();
  writer.begin();
  for (int i = 0; i < 6; ++i) writer.write(std::vector<std::byte>(400, std::byte(i)));
  writer.finish();
  std::uint64_t sum = 0;
  for (const std::string& part : paths) sum += fs::file_size(part);
  EXPECT_EQ(sum, planned);
  return paths;
}

TEST(GgufFiles, PartsHoldTheModel) {
  const support::TempDir dir;
  for (const int alignment : {32, 64}) {
    const auto paths = write(dir.file("m.gguf"), 1300, "model", alignment);
    ASSERT_EQ(paths.size(), 3u);
    for (const std::string& path : paths) EXPECT_LE(fs::file_size(path), 1300u);
    EXPECT_EQ(paths.front(), dir.file("m-00001-of-00003.gguf"));
    const GgufFiles files(paths.front());
    const GgufHeader& header = files.header();
    EXPECT_EQ(header.text("general.name"), "model");
    ASSERT_EQ(header.tensors().size(), 6u);
    ASSERT_EQ(files.files().size(), 3u);
    EXPECT_EQ(header.n_parts(), 3u);
    for (int i = 0; i < 6; ++i) {
      const GgufTensor* tensor = header.tensor("t" + std::to_string(i));
      ASSERT_NE(tensor, nullptr);
      std::vector<std::byte> bytes(tensor->bytes);
      files.files()[tensor->part].read(tensor->offset, bytes);
      EXPECT_EQ(bytes, std::vector<std::byte>(400, std::byte(i)));
    }
  }
}

TEST(GgufFiles, OnePartIsAnOrdinaryFile) {
  const support::TempDir dir;
  EXPECT_EQ(write(dir.file("m.gguf"), 100000), std::vector<std::string>{dir.file("m.gguf")});
  EXPECT_EQ(write(dir.file("w.gguf"), 0), std::vector<std::string>{dir.file("w.gguf")});
  EXPECT_EQ(core::read_text_file(dir.file("m.gguf")), core::read_text_file(dir.file("w.gguf")));
  EXPECT_EQ(GgufFiles(dir.file("m.gguf")).files().size(), 1u);
}

TEST(GgufFiles, TheMetadataAloneMayFillTheFirstPart) {
  const support::TempDir dir;
  const std::string name(700, 'n');
  const auto paths = write(dir.file("m.gguf"), 1000, name);
  ASSERT_GT(paths.size(), 1u);
  EXPECT_TRUE(GgufHeader::read(core::FileReader(paths.front())).tensors().empty());
  EXPECT_EQ(GgufFiles(paths.front()).header().tensors().size(), 6u);
}

TEST(GgufFiles, PartsThatAreTooSmallAreRefused) {
  const support::TempDir dir;
  EXPECT_NE(refusal([&] { write(dir.file("m.gguf"), 500); }, core::ErrorKind::usage)
                .find("cannot hold tensor t0, which needs"),
            std::string::npos);
  EXPECT_NE(refusal([&] { write(dir.file("m.gguf"), 1000, std::string(2000, 'n')); },
                    core::ErrorKind::usage)
                .find("the metadata"),
            std::string::npos);
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(GgufFiles, WhatIsNoWholeModelIsNamed) {
  const support::TempDir dir;
  const auto paths = write(dir.file("m.gguf"), 1300);
  const auto refused = [&](const std::string& path) {
    return refusal([&] { GgufFiles files(path); }, core::ErrorKind::input);
  };
  const std::string second = refused(paths[1]);
  EXPECT_NE(second.find("is part 2 of 3 of a split model; open the first part, " + paths[0]),
            std::string::npos)
      << second;
  fs::rename(paths[2], dir.file("away"));
  const std::string missing = refused(paths[0]);
  EXPECT_NE(missing.find(paths[2] + ": part 3 of 3"), std::string::npos) << missing;
  EXPECT_NE(missing.find("is missing"), std::string::npos) << missing;
  // A part in the place of another.
  fs::copy_file(paths[1], paths[2]);
  EXPECT_NE(refused(paths[0]).find("does not belong to m-00001-of-00003.gguf"), std::string::npos);
  // A part of another model of the same shape.
  const auto others = write(dir.file("o.gguf"), 1300, "other");
  fs::copy_file(others[2], paths[2], fs::copy_options::overwrite_existing);
  const std::string foreign = refused(paths[0]);
  EXPECT_NE(foreign.find(paths[2] + ": does not belong to"), std::string::npos) << foreign;
  // A name from which the others cannot be found.
  fs::rename(paths[0], dir.file("renamed.gguf"));
  EXPECT_NE(refused(dir.file("renamed.gguf")).find("must end in -00001-of-00003.gguf"),
            std::string::npos);
}

TEST(GgufFiles, AnUnfinishedWriterLeavesTheOldPartsAlone) {
  const support::TempDir dir;
  const auto paths = write(dir.file("m.gguf"), 1300);
  const std::string before = core::read_text_file(paths[0]);
  {
    GgufWriter writer(dir.file("m.gguf"), 32, 1300);
    declare(writer, "newer");
    writer.begin();
    for (int i = 0; i < 4; ++i) writer.write(std::vector<std::byte>(400));
  }
  EXPECT_EQ(core::read_text_file(paths[0]), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 3);
}

}  // namespace
}  // namespace espalier::format
