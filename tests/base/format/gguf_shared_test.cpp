// SPDX-License-Identifier: Apache-2.0
// A real small model: header, one tensor decoded, and the whole file written again byte by byte.
#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "format/gguf.h"
#include "support/shared_files.h"
#include "support/temp_dir.h"

namespace espalier::format {
namespace {

TEST(SharedGguf, Stories260K) {
  const std::string path = support::shared_file("data/teachers/stories260K.gguf");
  ESP_NEED_FILE(path);
  const core::FileReader file(path);
  const GgufHeader header = GgufHeader::read(file);
  EXPECT_EQ(header.text("general.architecture"), "llama");
  EXPECT_EQ(header.integer("llama.embedding_length"), 64);
  EXPECT_EQ(header.array("tokenizer.ggml.tokens").strings.size(), 512u);
  const GgufTensor* tensor = header.tensor("token_embd.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->cols(), 64);
  EXPECT_EQ(tensor->rows(), 512);
  std::vector<std::byte> bytes(tensor->bytes);
  file.read(tensor->offset, bytes);
  std::vector<float> values(static_cast<std::size_t>(tensor->cols() * tensor->rows()));
  info(tensor->format)
      .decode(bytes.data(), values.data(), static_cast<std::int64_t>(values.size()));
  double square = 0;
  for (const float v : values) square += double(v) * v;
  EXPECT_TRUE(std::isfinite(square));
  EXPECT_GT(square, 0.0);

  support::TempDir dir;
  GgufWriter writer(dir.file("copy.gguf"), header.alignment());
  for (const auto& [key, value] : header.metadata()) writer.set(key, value);
  for (const GgufTensor& t : header.tensors()) writer.add_tensor(t.name, t.ne, t.format);
  writer.begin();
  for (const GgufTensor& t : header.tensors()) {
    bytes.resize(t.bytes);
    file.read(t.offset, bytes);
    writer.write(bytes);
  }
  writer.finish();
  EXPECT_EQ(core::read_text_file(dir.file("copy.gguf")), core::read_text_file(path));
}

}  // namespace
}  // namespace espalier::format
