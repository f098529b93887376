// SPDX-License-Identifier: Apache-2.0
// A real GGUF exported as F32 holds the same bytes in every tensor, row order of q and k included.
#include <gtest/gtest.h>

#include "core/file.h"
#include "export/export_gguf.h"
#include "format/gguf.h"
#include "support/shared_files.h"
#include "support/temp_dir.h"

namespace espalier::exporter {
namespace {

std::vector<std::byte> tensor_bytes(const core::FileReader& file,
                                    const format::GgufTensor& tensor) {
  std::vector<std::byte> out(tensor.bytes);
  file.read(tensor.offset, out);
  return out;
}

TEST(ExportShared, AnF32GgufKeepsEveryTensor) {
  const std::string path = support::shared_file("data/teachers/stories260K.gguf");
  ESP_NEED_FILE(path);
  support::TempDir dir;
  const checkpoint::Checkpoint source = checkpoint::Checkpoint::open(path);
  export_gguf(source, plan::quant_plan(source.arch(), source.dims(), "f32"), dir.file("x.gguf"), {},
              {});
  const core::FileReader before(path), after(dir.file("x.gguf"));
  const format::GgufHeader a = format::GgufHeader::read(before),
                           b = format::GgufHeader::read(after);
  EXPECT_EQ(b.tensors().size(), 47u);
  int compared = 0;
  for (const format::GgufTensor& t : b.tensors()) {
    const format::GgufTensor* own = a.tensor(t.name);
    ASSERT_NE(own, nullptr) << t.name;
    EXPECT_EQ(tensor_bytes(before, *own), tensor_bytes(after, t)) << t.name;
    ++compared;
  }
  EXPECT_EQ(compared, 47);
  for (const char* key : {"llama.attention.layer_norm_rms_epsilon", "llama.rope.dimension_count"})
    EXPECT_EQ(a.real(key), b.real(key)) << key;
  EXPECT_EQ(a.array("tokenizer.ggml.tokens").strings, b.array("tokenizer.ggml.tokens").strings);
  EXPECT_EQ(a.array("tokenizer.ggml.scores").numbers, b.array("tokenizer.ggml.scores").numbers);
}

}  // namespace
}  // namespace espalier::exporter
