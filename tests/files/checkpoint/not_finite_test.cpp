// SPDX-License-Identifier: Apache-2.0
// A value that is no number ends every reading of its tensor, with the file, the tensor and the
// place in that tensor, however the file stores it.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "format/gguf.h"
#include "support/edit_tensors.h"
#include "support/golden_models.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::checkpoint {
namespace {

using arch::Role;
using format::FormatId;
using support::RawTensors;
using support::TempDir;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(),
                kInfinity = std::numeric_limits<float>::infinity();

void expect_refused(const Checkpoint& source, Role role, int layer, const std::string& words) {
  try {
    source.read(role, layer);
    ADD_FAILURE() << "read; expected: " << words;
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << words << " in " << e.what();
  }
}

TEST(NotFinite, DirectoriesOfEveryDtypeAndShards) {
  const TempDir dir;
  for (const FormatId dtype : {FormatId::f32, FormatId::f16, FormatId::bf16})
    for (const std::uint64_t shard : {0, 40000}) {
      const std::string path = support::write_tiny_llama(dir.file("m"), {.dtype = dtype});
      support::edit_tensors(
          path,
          [](RawTensors& all) {
            all.at("model.layers.1.mlp.up_proj.weight").set(3 * 64 + 5, kNaN);
            all.at("model.layers.0.self_attn.q_proj.weight").set(17 * 64 + 1, -kInfinity);
            all.at("model.norm.weight").set(63, kInfinity);
          },
          shard);
      const Checkpoint source = Checkpoint::open(path);
      expect_refused(source, Role::ffn_up, 1, "model.layers.1.mlp.up_proj.weight[3, 5] is nan");
      expect_refused(source, Role::attn_q, 0,
                     "model.layers.0.self_attn.q_proj.weight[17, 1] is -inf");
      expect_refused(source, Role::output_norm, -1, "model.norm.weight[63] is inf");
      expect_refused(source, Role::output_norm, -1,
                     shard == 0 ? "/model.safetensors: " : "/model-000");
      EXPECT_NO_THROW(source.read(Role::ffn_up, 0));
      std::vector<float> row(64);
      EXPECT_NO_THROW(source.read_rows(Role::ffn_up, 1, 4, 1, row.data()));
      EXPECT_THROW(source.read_rows(Role::ffn_up, 1, 3, 1, row.data()), core::Error);
    }
}

TEST(NotFinite, MatricesStoredColumnsFirstAndRowsOfOneTensor) {
  const TempDir dir;
  const auto copy = [&](const std::string& name, const std::string& tensor, std::int64_t index) {
    const std::string golden = support::golden_model(name).directory;
    std::filesystem::copy(golden, dir.file(name));
    return support::set_value(dir.file(name), tensor, index, kNaN);
  };
  const Checkpoint before = Checkpoint::open(support::golden_model("gpt2_a").directory);
  const arch::TensorRef q = arch::tensor_ref(before.arch(), before.dims(), Role::attn_qkv, 1);
  const Checkpoint gpt2 =
      Checkpoint::open(copy("gpt2_a", "transformer.h.1.attn.c_attn.weight", 2 * q.rows + 5));
  expect_refused(gpt2, Role::attn_qkv, 1, "c_attn.weight[2, 5] is nan");
  std::vector<float> row(static_cast<std::size_t>(q.cols));
  EXPECT_NO_THROW(gpt2.read_rows(Role::attn_qkv, 1, 6, 1, row.data()));
  EXPECT_THROW(gpt2.read_rows(Role::attn_qkv, 1, 5, 1, row.data()), core::Error);
}

TEST(NotFinite, GgufsPermutedAndBlocks) {
  const TempDir dir;
  const std::string path = support::write_tiny_llama_gguf(dir.file("m.gguf"));
  const auto overwrite = [&](const std::string& tensor, std::uint64_t at, std::uint32_t bits,
                             std::size_t bytes) {
    const core::FileReader reader(path);
    const std::uint64_t offset = format::GgufHeader::read(reader).tensor(tensor)->offset + at;
    std::FILE* file = std::fopen(path.c_str(), "r+b");
    std::fseek(file, static_cast<long>(offset), SEEK_SET);
    std::fwrite(&bits, 1, bytes, file);
    std::fclose(file);
  };
  overwrite("blk.1.attn_q.weight", 4 * (7 * 64 + 9), 0x7FC00000u, 4);  // row 7 of the file
  const Checkpoint f32 = Checkpoint::open(path);
  expect_refused(f32, Role::attn_q, 1, path + ": tensor blk.1.attn_q.weight[7, 9] is nan");

  format::GgufWriter writer(path);
  const arch::ModelDims dims = support::tiny_dims({});
  dims_to_gguf(support::llama(), dims, writer);
  const std::vector<arch::TensorRef> tensors = arch::tensors(support::llama(), dims);
  const auto format_of = [](const arch::TensorRef& t) {
    return t.is_vector ? FormatId::f32 : FormatId::q4_1;
  };
  for (const arch::TensorRef& t : tensors)
    writer.add_tensor(arch::gguf_name(t.spec->role, t.layer),
                      t.is_vector ? std::vector{t.rows} : std::vector{t.cols, t.rows},
                      format_of(t));
  writer.begin();
  for (const arch::TensorRef& t : tensors)
    writer.write(std::vector<std::byte>(static_cast<std::size_t>(
        format::matrix_bytes(format_of(t), t.is_vector ? 1 : t.rows, t.row_length()))));
  writer.finish();
  overwrite("blk.0.ffn_down.weight", 20 * (3 * 2 + 1) + 2, 0x7C00u, 2);  // m of row 2, block 1
  expect_refused(Checkpoint::open(path), Role::ffn_down, 0, "blk.0.ffn_down.weight[2, 32] is inf");
}

}  // namespace
}  // namespace espalier::checkpoint
