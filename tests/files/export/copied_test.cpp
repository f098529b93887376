// SPDX-License-Identifier: Apache-2.0
// Matrices that are stored in the wanted format come through as they are, whatever the rounding.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "export/budget.h"
#include "export/export_gguf.h"
#include "format/gguf.h"
#include "support/refusal.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::exporter {
namespace {

using arch::Role;
using checkpoint::Checkpoint;
using format::FormatId;

plan::QuantPlan mix(const Checkpoint& source, std::string_view name,
                    const std::map<std::string, FormatId>& overrides = {}) {
  return plan::quant_plan(source.arch(), source.dims(), name, overrides);
}

// Tensors of a file by name, as they are stored.
std::map<std::string, std::vector<std::byte>> stored(const std::string& path) {
  const core::FileReader reader(path);
  std::map<std::string, std::vector<std::byte>> out;
  const format::GgufHeader header = format::GgufHeader::read(reader);
  for (const format::GgufTensor& t : header.tensors()) {
    std::vector<std::byte>& bytes = out[t.name];
    bytes.resize(t.bytes);
    reader.read(t.offset, bytes);
  }
  return out;
}

// Statistics that no rounding by them leaves the weights alone.
quant::Imatrix uneven(const Checkpoint& source) {
  quant::Imatrix out;
  out.tokens = 1;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    if (t.is_vector) continue;
    quant::TensorStatistics s;
    s.tokens = 1;
    std::vector<float> gram(static_cast<std::size_t>(t.cols * t.cols), 0.3f);
    for (std::int64_t i = 0; i < t.cols; ++i) {
      gram[static_cast<std::size_t>(i * (t.cols + 1))] = 1 + static_cast<float>(i % 5);
      s.sum_squares.push_back(1 + static_cast<double>(i % 5));
    }
    s.gram = std::make_shared<const std::vector<float>>(std::move(gram));
    out.tensors[{t.spec->role, t.layer}] = s;
  }
  return out;
}

std::string tiny(const support::TempDir& dir) {
  return support::write_tiny_llama(
      dir.file("hf"), {.hidden = 256, .layers = 1, .kv_groups = 1, .q_per_kv = 16, .ffn = 256});
}

TEST(Copied, TheSameFormatGivesTheSameBytes) {
  const support::TempDir dir;
  const Checkpoint source = Checkpoint::open(tiny(dir));
  const quant::Imatrix imatrix = uneven(source);
  int compared = 0;
  for (const std::string& name : plan::mix_names()) {
    const std::string first = dir.file("a.gguf"), second = dir.file("b.gguf");
    export_gguf(source, mix(source, name), first, {}, {});
    const Checkpoint rounded = Checkpoint::open(first);
    for (const quant::Rounding rounding :
         {quant::Rounding::nearest, quant::Rounding::imatrix, quant::Rounding::gptq}) {
      ExportOptions options;
      options.rounding = rounding;
      options.imatrix = &imatrix;
      options.threads = 1 + compared % 3;
      const ExportResult result = export_gguf(rounded, mix(rounded, name), second, options, {});
      EXPECT_EQ(result.copied, 8) << name;
      EXPECT_EQ(stored(second), stored(first)) << name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 25 * 3);
}

// A Hugging Face directory has other rows than a GGUF, and its floats are copied all the same.
TEST(Copied, FloatsOfADirectoryToo) {
  const support::TempDir dir;
  const Checkpoint source =
      Checkpoint::open(support::write_tiny_llama(dir.file("hf"), {.dtype = FormatId::bf16}));
  const ExportResult result = export_gguf(source, mix(source, "bf16"), dir.file("a.gguf"), {}, {});
  EXPECT_EQ(result.copied, 15);
  const Checkpoint back = Checkpoint::open(dir.file("a.gguf"));
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
    EXPECT_EQ(back.read(t.spec->role, t.layer), source.read(t.spec->role, t.layer));
  EXPECT_EQ(export_gguf(source, mix(source, "f16"), dir.file("b.gguf"), {}, {}).copied, 0);
}

TEST(Copied, OnlyWhatHasItsFormatAlready) {
  const support::TempDir dir;
  const Checkpoint source = Checkpoint::open(tiny(dir));
  export_gguf(source, mix(source, "q4_0"), dir.file("a.gguf"), {}, {});
  const Checkpoint rounded = Checkpoint::open(dir.file("a.gguf"));
  const ExportResult result = export_gguf(
      rounded, mix(rounded, "q5_k", {{"ffn_up", FormatId::q4_0}}), dir.file("b.gguf"), {}, {});
  EXPECT_EQ(result.copied, 1);
  const auto before = stored(dir.file("a.gguf")), after = stored(dir.file("b.gguf"));
  EXPECT_EQ(after.at("blk.0.ffn_up.weight"), before.at("blk.0.ffn_up.weight"));
  EXPECT_NE(after.at("blk.0.ffn_down.weight").size(), before.at("blk.0.ffn_down.weight").size());
}

TEST(Copied, RowsOfACutVocabulary) {
  const support::TempDir dir;
  const Checkpoint source = Checkpoint::open(tiny(dir));
  export_gguf(source, mix(source, "q8_0"), dir.file("a.gguf"), {}, {});
  Checkpoint cut = Checkpoint::open(dir.file("a.gguf"));
  std::vector<std::int64_t> keep;
  for (std::int64_t id = 0; id < cut.dims().vocab; ++id)
    if (id < 259 || id % 3 == 0) keep.push_back(id);
  cut.keep_vocabulary(keep);
  const Checkpoint whole = Checkpoint::open(dir.file("a.gguf"));
  ExportOptions options;
  options.no_tokenizer = true;
  EXPECT_EQ(export_gguf(cut, mix(cut, "q8_0"), dir.file("b.gguf"), options, {}).copied, 8);
  const std::vector<float> rows = Checkpoint::open(dir.file("b.gguf")).read(Role::token_embd, -1);
  ASSERT_EQ(rows.size(), keep.size() * 256);
  std::vector<float> row(256);
  for (std::size_t i = 0; i < keep.size(); ++i) {
    whole.read_rows(Role::token_embd, -1, keep[i], 1, row.data());
    EXPECT_TRUE(
        std::equal(row.begin(), row.end(), rows.begin() + static_cast<std::int64_t>(256 * i)));
  }
}

TEST(Copied, WhatIsNotFiniteIsRefused) {
  const support::TempDir dir;
  const Checkpoint source = Checkpoint::open(tiny(dir));
  const std::string path = dir.file("a.gguf");
  for (const char* name : {"q4_0", "f16", "q6_k"}) {
    export_gguf(source, mix(source, name), path, {}, {});
    {
      const core::FileReader reader(path);
      const format::GgufHeader header = format::GgufHeader::read(reader);
      const format::GgufTensor* tensor = header.tensor("blk.0.attn_k.weight");
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      // The last two bytes of a block of Q6_K are its scale.
      file.seekp(static_cast<std::streamoff>(
          tensor->offset + (std::string(name) == "q6_k" ? tensor->bytes - 2 : 0)));
      file.write("\x00\x7C", 2);
    }
    const Checkpoint broken = Checkpoint::open(path);
    const std::string said = support::refusal(
        [&] { export_gguf(broken, mix(broken, name), dir.file("b.gguf"), {}, {}); },
        core::ErrorKind::input);
    EXPECT_NE(said.find("blk.0.attn_k.weight["), std::string::npos) << said;
    EXPECT_FALSE(std::filesystem::exists(dir.file("b.gguf")));
  }
}

// What is copied costs a budget no error, so that no larger format pays.
TEST(Copied, ABudgetKeepsTheStoredFormat) {
  const support::TempDir dir;
  const Checkpoint source = Checkpoint::open(tiny(dir));
  export_gguf(source, mix(source, "q4_k"), dir.file("a.gguf"), {}, {});
  const Checkpoint rounded = Checkpoint::open(dir.file("a.gguf"));
  BudgetOptions budget;
  budget.whole_file = false;
  budget.candidates = {FormatId::q4_k, FormatId::f32};
  budget.target_bytes = largest_data_bytes(rounded.arch(), rounded.dims(), budget);
  const auto n_kept = [&] {
    int n = 0;
    for (const plan::TensorFormat& t : plan_for_budget(rounded, budget, {}, {}).tensors)
      n += t.format == FormatId::q4_k ? 1 : 0;
    return n;
  };
  EXPECT_EQ(n_kept(), 8);
  budget.copies = false;
  EXPECT_LT(n_kept(), 8);
}

}  // namespace
}  // namespace espalier::exporter
