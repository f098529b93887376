// SPDX-License-Identifier: Apache-2.0
// A real GGUF with an SPM tokenizer, opened and imported.
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "support/layer_sizes.h"
#include "support/shared_files.h"
#include "support/temp_dir.h"

namespace espalier::checkpoint {
namespace {

TEST(CheckpointShared, Stories260K) {
  const std::string path = support::shared_file("data/teachers/stories260K.gguf");
  ESP_NEED_FILE(path);
  const Checkpoint gguf = Checkpoint::open(path);
  EXPECT_EQ(arch::parameters(gguf.arch(), gguf.dims()), 260032);
  EXPECT_EQ(gguf.dims().layers.at(4), support::layer_sizes(4, 2, 172));
  EXPECT_EQ(gguf.tokenizer().kind, text::TokenizerKind::spm);

  const support::TempDir dir;
  import_checkpoint(gguf, dir.file("hf"), {}, {});
  const Checkpoint imported = Checkpoint::open(dir.file("hf"));
  EXPECT_EQ(imported.dims(), gguf.dims());
  EXPECT_TRUE(text::same_vocabulary(imported.tokenizer(), gguf.tokenizer()));
  for (const arch::TensorRef& t : arch::tensors(gguf.arch(), gguf.dims()))
    EXPECT_EQ(imported.read(t.spec->role, t.layer), gguf.read(t.spec->role, t.layer))
        << arch::gguf_name(t.spec->role, t.layer);
}

}  // namespace
}  // namespace espalier::checkpoint
