// A real GGUF with an SPM tokenizer, opened and imported.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "support/temp_dir.h"

namespace espalier::checkpoint {
namespace {

TEST(CheckpointShared, Stories260K) {
  const char* set = std::getenv("ESPALIER_SHARED");
  const std::string shared = set != nullptr ? set : ESPALIER_SOURCE_DIR "/../shared";
  const std::string path = shared + "/data/teachers/stories260K.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there; set ESPALIER_SHARED to the folder that has it";
  const Checkpoint gguf = Checkpoint::open(path);
  EXPECT_EQ(arch::parameters(gguf.arch(), gguf.dims()), 260032);
  EXPECT_EQ(gguf.dims().layers.at(4), (arch::LayerDims{4, 2, 172}));
  EXPECT_EQ(gguf.tokenizer().kind, text::TokenizerKind::spm);

  const support::TempDir dir;
  import_checkpoint(gguf, dir.file("hf"), {}, {});
  const Checkpoint imported = Checkpoint::open(dir.file("hf"));
  EXPECT_EQ(imported.dims(), gguf.dims());
  EXPECT_TRUE(text::same_vocabulary(imported.tokenizer(), gguf.tokenizer()));
  for (const arch::TensorRef& t : arch::tensors(gguf.arch(), gguf.dims()))
    EXPECT_EQ(imported.read(t.spec->role, t.layer), gguf.read(t.spec->role, t.layer)) << arch::gguf_name(t.spec->role, t.layer);
}

}  // namespace
}  // namespace espalier::checkpoint
