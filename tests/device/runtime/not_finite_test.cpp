// SPDX-License-Identifier: Apache-2.0
// A weight that is no number is found when the file is loaded or packed, wherever it lies and
// whatever its format; logits that are no numbers end reading.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/file.h"
#include "core/half.h"
#include "format/gguf.h"
#include "runtime/expect_error.h"
#include "runtime/packed_file.h"
#include "runtime/plain_model.h"
#include "runtime/session.h"
#include "runtime/token_reader.h"
#include "runtime/weights.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

using core::ErrorKind;
using format::FormatId;
using support::expect_error;

constexpr support::PlainSizes sizes(bool tied) {
  return {.vocab = 300, .hidden = 256, .head_dim = 32, .layers = {{4, 2, 512}}, .tied = tied};
}

// A model in `format`; `bits` at byte `at` of a tensor.
std::string damaged(const support::TempDir& dir, FormatId format, bool tied,
                    const std::string& tensor, std::uint64_t at, std::uint32_t bits,
                    std::size_t bytes) {
  const std::string path = dir.file("m.gguf");
  support::PlainModel model = support::random_model(sizes(tied), 5);
  support::write_gguf(model, path, format);
  const std::uint64_t offset =
      format::GgufHeader::read(core::FileReader(path)).tensor(tensor)->offset + at;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(reinterpret_cast<const char*>(&bits), static_cast<std::streamsize>(bytes));
  return path;
}

void expect_found(const std::string& path, const std::string& place) {
  for (const char* isa : {"reference", ""})
    expect_error([&] { Session(path, {.threads = 2, .context = 32, .isa = isa}); },
                 ErrorKind::input, {path + ": tensor " + place});
  core::ThreadPool pool(2);
  const kernels::KernelTable& table = kernels::select_isa();
  const std::string packed = PackedFile::path_of(path, table);
  const FormatId format =
      format::GgufHeader::read(core::FileReader(path)).tensor("blk.0.attn_q.weight")->format;
  if (packed.empty() || format::info(format).is_float()) return;  // nothing to pack
  expect_error([&] { pack_file(path, table, pool, [](std::int64_t, std::int64_t) {}); },
               ErrorKind::input, {path + ": tensor " + place});
  EXPECT_FALSE(std::filesystem::exists(packed));
}

TEST(NotFinite, WeightsOfEveryFormat) {
  const support::TempDir dir;
  int formats = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    ++formats;
    std::uint64_t scale = 0;  // where a block of the format has it
    if (f.id == FormatId::q6_k) scale = 208;
    if (f.id == FormatId::q3_k) scale = 108;
    if (f.id == FormatId::q2_k) scale = 82;  // dmin
    const std::uint64_t row = static_cast<std::uint64_t>(format::matrix_bytes(f.id, 1, 256));
    const bool single = f.id == FormatId::f32;
    expect_found(damaged(dir, f.id, true, "blk.0.ffn_up.weight", 77 * row + scale,
                         single                    ? 0x7FC00000u
                         : f.id == FormatId::bf16  ? 0x7FC0u
                         : f.id == FormatId::mxfp4 ? 0x00FFu
                                                   : 0x7E00u,
                         single ? 4 : 2),
                 "blk.0.ffn_up.weight[77, 0] is ");
  }
  EXPECT_EQ(formats, 17);
}

TEST(NotFinite, EveryTensorOfAFile) {
  const support::TempDir dir;
  for (const bool tied : {true, false}) {
    support::PlainModel model = support::random_model(sizes(tied), 5);
    int tensors = 0;
    for (const auto& [name, values] : model.tensors) {
      ++tensors;
      const bool vector = name.find("norm") != std::string::npos;
      // Scale of the last block: of groups that are not whole too.
      const std::uint64_t at = vector ? 4 * 200 : 34 * (values.size() / 32 - 1);
      const std::string path = damaged(dir, FormatId::q8_0, tied, name, at,
                                       vector ? 0xFF800000u : 0x7C00u, vector ? 4 : 2);
      expect_found(path, name + "[");
    }
    EXPECT_EQ(tensors, (tied ? 2 : 3) + 9);
  }
}

TEST(NotFinite, AFileThatWasPackedIsNotLookedAtAgain) {
  const support::TempDir dir;
  const kernels::KernelTable& table = kernels::select_isa();
  if (PackedFile::path_of("m.gguf", table).empty()) return;
  const std::string path = dir.file("m.gguf");
  support::PlainModel model = support::random_model(sizes(true), 5);
  support::write_gguf(model, path, FormatId::q8_0);
  core::ThreadPool pool(2);
  pack_file(path, table, pool, [](std::int64_t, std::int64_t) {});
  Session session(path, {.threads = 2, .context = 32});
  EXPECT_FALSE(session.packed_file().empty());
  EXPECT_EQ(session.prefill(support::random_tokens(4, 300, 1)).size(), 300u);
}

TEST(NotFinite, LogitsEndReading) {
  const support::TempDir dir;
  const std::string path = dir.file("m.gguf");
  support::PlainModel model = support::random_model(sizes(true), 5);
  for (const arch::Role role : {arch::Role::ffn_up, arch::Role::ffn_down})
    for (float& v : model.tensor(role, 0)) v *= 1e30f;
  support::write_gguf(model, path);
  Session session(path, {.threads = 2, .context = 32});
  const std::vector<std::int32_t> tokens = support::random_tokens(4, 300, 1);
  const std::vector<std::string> words = {path + ": the logits are not finite"};
  expect_error([&] { session.prefill(tokens); }, ErrorKind::input, words);
  session.reset();
  expect_error(
      [&] { session.prefill_scored(tokens, 0, [](std::int64_t, std::span<const float>) {}); },
      ErrorKind::input, words);
  session.reset();
  expect_error([&] { session.require_finite_logits(session.decode_step(tokens[0])); },
               ErrorKind::input, words);
  TokenReader reader(session);
  expect_error([&] { reader.read_all(tokens); }, ErrorKind::input, words);
}

}  // namespace
}  // namespace espalier::runtime
