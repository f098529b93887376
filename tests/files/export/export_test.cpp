// SPDX-License-Identifier: Apache-2.0
// Exported files: their bytes as planned, their values back in the layout they came from, and what
// is refused.
#include "export/export_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "export/metadata.h"
#include "export/split.h"
#include "format/gguf.h"
#include "support/edit_tensors.h"
#include "support/refusal.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::exporter {
namespace {

using arch::Role;
using checkpoint::Checkpoint;
using format::FormatId;
using support::refusal;

plan::QuantPlan mix(const Checkpoint& source, std::string_view name,
                    const std::map<std::string, FormatId>& overrides = {}) {
  return plan::quant_plan(source.arch(), source.dims(), name, overrides);
}

quant::Imatrix flat_imatrix(const Checkpoint& source, bool gram) {
  quant::Imatrix out;
  out.tokens = 1;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    if (t.is_vector) continue;
    quant::TensorStatistics s;
    s.tokens = 1;
    s.sum_squares.assign(static_cast<std::size_t>(t.cols), 1.0);
    if (gram) {
      std::vector<float> identity(static_cast<std::size_t>(t.cols * t.cols), 0.0f);
      for (std::int64_t i = 0; i < t.cols; ++i)
        identity[static_cast<std::size_t>(i * (t.cols + 1))] = 1;
      s.gram = std::make_shared<const std::vector<float>>(identity);
    }
    out.tensors[{t.spec->role, t.layer}] = s;
  }
  return out;
}

TEST(Export, HuggingFaceToGgufAndBackIsIdentical) {
  support::TempDir dir;
  for (const bool tied : {true, false}) {
    const support::TinyOptions options{.tied = tied};
    const Checkpoint source =
        Checkpoint::open(support::write_tiny_llama(dir.file(tied ? "a" : "b"), options));
    const std::string path = dir.file("f32.gguf");
    const ExportResult result = export_gguf(source, mix(source, "f32"), path, {}, {});
    EXPECT_EQ(result.file_bytes, result.planned_bytes);
    EXPECT_EQ(result.bits_per_weight, 32.0);
    const Checkpoint back = Checkpoint::open(path);
    EXPECT_EQ(back.dims(), source.dims());
    EXPECT_TRUE(text::same_vocabulary(back.tokenizer(), source.tokenizer()));
    int tensors = 0;
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
      EXPECT_EQ(back.read(t.spec->role, t.layer), source.read(t.spec->role, t.layer))
          << arch::gguf_name(t.spec->role, t.layer);
      ++tensors;
    }
    EXPECT_EQ(tensors, tied ? 2 + 2 * 9 : 3 + 2 * 9);
    // The file differs from the source's row order where it must: q rows are interleaved.
    const core::FileReader reader(path);
    const format::GgufHeader header = format::GgufHeader::read(reader);
    std::vector<float> q(static_cast<std::size_t>(64 * 64));
    reader.read(header.tensor("blk.0.attn_q.weight")->offset, std::as_writable_bytes(std::span(q)));
    EXPECT_NE(q, source.read(Role::attn_q, 0));
    const std::string again = dir.file("again.gguf");
    export_gguf(back, mix(back, "f32"), again, {}, {});
    const Checkpoint twice = Checkpoint::open(again);
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
      EXPECT_EQ(twice.read(t.spec->role, t.layer), source.read(t.spec->role, t.layer));
  }
}

TEST(Export, HeaderSaysWhatIsInTheFile) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m")));
  const std::string path = dir.file("q.gguf");
  ExportOptions options;
  options.provenance = {{"espalier.teacher.sha256", "abc"}, {"general.license", "apache-2.0"}};
  const ExportResult result =
      export_gguf(source, mix(source, "q4_0", {{"token_embd", FormatId::q8_0}}), path, options, {});
  const core::FileReader reader(path);
  const format::GgufHeader header = format::GgufHeader::read(reader);
  EXPECT_EQ(header.text("general.architecture"), "llama");
  EXPECT_EQ(header.integer("general.quantization_version"), 2);
  EXPECT_EQ(header.text("espalier.teacher.sha256"), "abc");
  EXPECT_EQ(header.text("general.license"), "apache-2.0");
  EXPECT_EQ(header.text("espalier.rounding"), "nearest");
  EXPECT_EQ(header.text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(header.tensor("token_embd.weight")->format, FormatId::q8_0);
  EXPECT_EQ(header.tensor("blk.1.ffn_down.weight")->format, FormatId::q4_0);
  EXPECT_EQ(header.tensor("blk.1.ffn_norm.weight")->format, FormatId::f32);
  EXPECT_EQ(static_cast<std::uint64_t>(result.file_bytes), reader.size());
  ASSERT_EQ(result.formats.size(), 3u);
  EXPECT_EQ(result.formats.at("q8_0").tensors, 1);
  EXPECT_EQ(result.formats.at("q4_0").tensors, 14);
  EXPECT_EQ(result.formats.at("f32").tensors, 5);
  options.provenance = {{"tokenizer.ggml.model", "x"}};
  refusal([&] { export_gguf(source, mix(source, "q4_0"), path, options, {}); },
          core::ErrorKind::usage);
}

TEST(Export, FileTypeOfMixes) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(
      dir.file("m"), {.hidden = 256, .kv_groups = 4, .q_per_kv = 4, .ffn = 256}));
  const std::map<std::string, std::uint32_t> expected = {
      {"f32", 0},     {"f16", 1},     {"bf16", 32},   {"q4_0", 2},    {"q4_1", 3},
      {"q5_0", 8},    {"q5_1", 9},    {"q8_0", 7},    {"q4_k", 14},   {"q5_k", 16},
      {"q6_k", 18},   {"q2_0", 41},   {"q2_k", 10},   {"q3_k", 11},   {"iq4_nl", 25},
      {"iq4_xs", 30}, {"mxfp4", 38},  {"q2_k_s", 21}, {"q3_k_s", 11}, {"q3_k_m", 12},
      {"q3_k_l", 13}, {"q4_k_m", 15}, {"q4_k_s", 14}, {"q5_k_m", 17}, {"q5_k_s", 16}};
  EXPECT_EQ(expected.size(), plan::mix_names().size());
  for (const auto& [name, type] : expected)
    EXPECT_EQ(file_type(source, mix(source, name)), type) << name;
}

// Every mix, and every rounding of one mix of each kind (tests/files/quant rounds to every format).
TEST(Export, EveryMixAndRoundingWritesWhatItPlanned) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(
      dir.file("m"), {.hidden = 256, .layers = 1, .kv_groups = 1, .q_per_kv = 16, .ffn = 256}));
  const quant::Imatrix imatrix = flat_imatrix(source, true);
  int files = 0;
  for (const std::string& name : plan::mix_names())
    for (const quant::Rounding rounding :
         {quant::Rounding::nearest, quant::Rounding::imatrix, quant::Rounding::gptq}) {
      if (rounding != quant::Rounding::nearest && name != "q2_0" && name != "q5_1" &&
          name != "q4_k_m")
        continue;
      ExportOptions options;
      options.rounding = rounding;
      options.imatrix = &imatrix;
      options.threads = 2;
      const plan::QuantPlan plan = mix(source, name);
      const std::int64_t planned = planned_file_bytes(source, plan, options);
      const ExportResult result = export_gguf(source, plan, dir.file("x.gguf"), options, {});
      EXPECT_EQ(result.file_bytes, planned) << name;
      const Checkpoint back = Checkpoint::open(dir.file("x.gguf"));
      const std::vector<float> a = source.read(Role::attn_q, 0), b = back.read(Role::attn_q, 0);
      double error = 0, energy = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        energy += a[i] * a[i];
      }
      EXPECT_LT(error, (name == "q2_0" || name.starts_with("q2_k") ? 0.2
                        : name.starts_with("q3_k")                 ? 0.05
                        : name == "mxfp4"                          ? 0.02
                                                                   : 0.01) *
                           energy)
          << name;  // normal weights: about 15 % with two bits, 0.7 % with four, 1.3 % with FP4
      ++files;
    }
  EXPECT_EQ(files, 25 + 2 * 3);
}

TEST(Export, ScaledRopeWritesItsFactors) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(
      dir.file("m"),
      {.rope_scaling = {
           .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_positions = 64}}));
  export_gguf(source, mix(source, "q8_0"), dir.file("x.gguf"), {}, {});
  const core::FileReader reader(dir.file("x.gguf"));
  const format::GgufHeader header = format::GgufHeader::read(reader);
  const format::GgufTensor* tensor = header.tensor("rope_freqs.weight");
  ASSERT_NE(tensor, nullptr);
  std::vector<float> factors(8);
  ASSERT_EQ(tensor->bytes, 32u);
  reader.read(tensor->offset, std::as_writable_bytes(std::span(factors)));
  EXPECT_EQ(factors, arch::rope_frequency_factors(source.dims()));
  EXPECT_EQ(Checkpoint::open(dir.file("x.gguf")).dims(), source.dims());
}

TEST(Export, VocabularyIsFilledUpToTheEmbedding) {
  const text::TokenizerData data = support::tiny_tokenizer(300);
  const text::TokenizerData full = full_vocabulary(data, 320);
  ASSERT_EQ(full.tokens.size(), 320u);
  ASSERT_EQ(full.types.size(), 320u);
  EXPECT_EQ(full.types[310], text::TokenType::unused);
  EXPECT_NE(full.tokens[310], full.tokens[311]);
  refusal([&] { full_vocabulary(data, 299); }, core::ErrorKind::input);
}

TEST(Export, WithoutATokenizerOnlyWhenAskedTo) {
  support::TempDir dir;
  const std::string hf = support::write_tiny_llama(dir.file("hf"));
  const std::string path = dir.file("x.gguf");
  std::filesystem::remove(hf + "/tokenizer.json");
  const Checkpoint none = Checkpoint::open(hf);
  const std::string text =
      refusal([&] { export_gguf(none, mix(none, "f32"), path, {}, {}); }, core::ErrorKind::input);
  for (const char* part : {"tokenizer.json", "merges.txt", "tekken.json", "--no-tokenizer"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  refusal([&] { planned_file_bytes(none, mix(none, "f32"), {}); }, core::ErrorKind::input);
  ExportOptions options;
  options.no_tokenizer = true;
  export_gguf(none, mix(none, "f32"), path, options, {});
  EXPECT_FALSE(Checkpoint::open(path).has_tokenizer());
  const Checkpoint has = Checkpoint::open(support::write_tiny_llama(dir.file("has")));
  export_gguf(has, mix(has, "f32"), path, options, {});
  EXPECT_FALSE(Checkpoint::open(path).has_tokenizer()) << "it was asked for none";
  support::TinyOptions fewer;
  fewer.vocab = 300;
  const std::string smaller = support::write_tiny_llama(dir.file("smaller"), fewer);
  std::filesystem::copy_file(dir.file("has/tokenizer.json"), smaller + "/tokenizer.json",
                             std::filesystem::copy_options::overwrite_existing);
  const Checkpoint wrong = Checkpoint::open(smaller);
  const std::string rows =
      refusal([&] { export_gguf(wrong, mix(wrong, "f32"), path, {}, {}); }, core::ErrorKind::input);
  EXPECT_NE(rows.find("320 tokens, the embedding only 300 rows"), std::string::npos) << rows;
}

TEST(Export, RefusesToWriteOverItsSource) {
  support::TempDir dir;
  const std::string gguf = support::write_tiny_llama_gguf(dir.file("m.gguf"));
  const Checkpoint source = Checkpoint::open(gguf);
  const std::string before = core::read_text_file(gguf);
  std::filesystem::create_symlink(gguf, dir.file("link.gguf"));
  for (const std::string& path : {gguf, dir.file("link.gguf"), dir.file("./m.gguf")})
    refusal([&] { export_gguf(source, mix(source, "q8_0"), path, {}, {}); },
            core::ErrorKind::usage);
  EXPECT_EQ(core::read_text_file(gguf), before);
  const std::string hf = support::write_tiny_llama(dir.file("hf"));
  const Checkpoint directory = Checkpoint::open(hf);
  refusal(
      [&] { export_gguf(directory, mix(directory, "q8_0"), hf + "/model.safetensors", {}, {}); },
      core::ErrorKind::usage);
  refusal([&] { export_gguf(directory, mix(directory, "q8_0"), hf, {}, {}); },
          core::ErrorKind::usage);
  export_gguf(directory, mix(directory, "q8_0"), hf + "/model.gguf", {}, {});
  EXPECT_TRUE(std::filesystem::exists(hf + "/model.gguf"));
  export_gguf(directory, mix(directory, "q8_0"), dir.file("new/directory/x.gguf"), {},
              {});  // is made
  EXPECT_TRUE(std::filesystem::exists(dir.file("new/directory/x.gguf")));
  EXPECT_THROW(export_gguf(directory, mix(directory, "q8_0"), hf + "/model.gguf/x.gguf", {}, {}),
               core::Error);
}

TEST(Export, AFailedExportLeavesThePreviousFile) {
  support::TempDir dir;
  const std::string hf = support::write_tiny_llama(dir.file("hf"));
  const std::string path = dir.file("x.gguf");
  core::write_text_file(path, "previous");
  // A weight that is not a number, found in the middle of writing. The data of the safetensors file
  // ends with the last tensor.
  {
    std::fstream file(hf + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    file.seekp(-64, std::ios::end);
    file.write(reinterpret_cast<const char*>(&nan), sizeof nan);
  }
  const Checkpoint source = Checkpoint::open(hf);
  const std::string text = refusal([&] { export_gguf(source, mix(source, "q8_0"), path, {}, {}); },
                                   core::ErrorKind::input);
  EXPECT_NE(text.find("nan"), std::string::npos) << text;
  EXPECT_EQ(core::read_text_file(path), "previous");
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path()))
    ++files;
  EXPECT_EQ(files, 2);
}

TEST(Export, WeightsThatAFormatCannotHoldAreRefused) {
  support::TempDir dir;
  const std::string hf =
      support::set_value(support::write_tiny_llama(dir.file("hf"), {.dtype = FormatId::bf16}),
                         "model.layers.1.mlp.up_proj.weight", 3 * 64 + 5, 1e6f);
  const Checkpoint source = Checkpoint::open(hf);
  const quant::Imatrix imatrix = flat_imatrix(source, true);
  for (const quant::Rounding rounding :
       {quant::Rounding::nearest, quant::Rounding::imatrix, quant::Rounding::gptq}) {
    ExportOptions options;
    options.rounding = rounding;
    options.imatrix = &imatrix;
    for (const char* name : {"f16", "q4_0", "q4_1"}) {
      const std::string text =
          refusal([&] { export_gguf(source, mix(source, name), dir.file("x.gguf"), options, {}); },
                  core::ErrorKind::input);
      EXPECT_NE(text.find(hf + ": tensor blk.1.ffn_up.weight: weight [3, 5] is "),
                std::string::npos)
          << text;
      EXPECT_NE(text.find("formats that can: f32, q5_0, "), std::string::npos) << text;
      EXPECT_FALSE(std::filesystem::exists(dir.file("x.gguf")));
    }
    for (const char* name : {"q8_0", "bf16"}) {
      export_gguf(source, mix(source, name), dir.file("y.gguf"), options, {});
      EXPECT_NEAR(Checkpoint::open(dir.file("y.gguf")).read(Role::ffn_up, 1)[3 * 64 + 5], 1e6, 5e3);
    }
  }
}

TEST(Export, MatricesThatAFormatWouldLoseAreRefused) {
  support::TempDir dir;
  const std::string hf = support::write_tiny_llama(dir.file("hf"));
  const Checkpoint whole = Checkpoint::open(hf);
  support::edit_tensors(hf, [&](support::RawTensors& all) {
    for (int i = 0; i < 96 * 64; ++i)
      all.at("model.layers.1.mlp.up_proj.weight")
          .set(i, 1e-8f * whole.read(Role::ffn_up, 1)[static_cast<std::size_t>(i)]);
  });
  const Checkpoint source = Checkpoint::open(hf);
  for (const char* name : {"f16", "q8_0"}) {
    const std::string text =
        refusal([&] { export_gguf(source, mix(source, name), dir.file("x.gguf"), {}, {}); },
                core::ErrorKind::input);
    EXPECT_NE(text.find("blk.1.ffn_up.weight: the weights are too small for"), std::string::npos)
        << text;
    EXPECT_FALSE(std::filesystem::exists(dir.file("x.gguf")));
  }
  export_gguf(source, mix(source, "bf16"), dir.file("x.gguf"), {}, {});
}

// An output matrix of its own beside tie_word_embeddings is a tensor of the file.
TEST(Export, AnOutputMatrixOfItsOwnIsCarried) {
  support::TempDir dir;
  const std::string hf = support::write_tiny_llama(dir.file("hf"));
  support::edit_tensors(hf, [](support::RawTensors& all) {
    all["lm_head.weight"] = all.at("model.embed_tokens.weight");
    all["lm_head.weight"].set(9, 2.5f);
  });
  const Checkpoint source = Checkpoint::open(hf);
  export_gguf(source, mix(source, "f32"), dir.file("x.gguf"), {}, {});
  const Checkpoint back = Checkpoint::open(dir.file("x.gguf"));
  EXPECT_FALSE(back.dims().tied);
  EXPECT_EQ(back.read(Role::output, -1)[9], 2.5f);
  EXPECT_NE(back.read(Role::token_embd, -1)[9], 2.5f);
}

TEST(Export, StatisticsAreCheckedBeforeWriting) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m")));
  const auto attempt = [&](const quant::Imatrix* imatrix, quant::Rounding rounding) {
    ExportOptions options;
    options.rounding = rounding;
    options.imatrix = imatrix;
    export_gguf(source, mix(source, "q4_0"), dir.file("x.gguf"), options, {});
  };
  refusal([&] { attempt(nullptr, quant::Rounding::imatrix); }, core::ErrorKind::usage);
  quant::Imatrix imatrix = flat_imatrix(source, false);
  const std::string text =
      refusal([&] { attempt(&imatrix, quant::Rounding::gptq); }, core::ErrorKind::input);
  EXPECT_NE(text.find(".weight: no second moments (calibrate with --gram); and "),
            std::string::npos)
      << text;
  imatrix.tensors[{Role::attn_v, 0}].sum_squares.pop_back();
  const std::string width =
      refusal([&] { attempt(&imatrix, quant::Rounding::imatrix); }, core::ErrorKind::input);
  EXPECT_TRUE(width.ends_with("blk.0.attn_v.weight: statistics of another width")) << width;
  quant::Imatrix none;
  const std::string nothing =
      refusal([&] { attempt(&none, quant::Rounding::imatrix); }, core::ErrorKind::input);
  EXPECT_NE(nothing.find("cover no matrix"), std::string::npos) << nothing;
  EXPECT_FALSE(std::filesystem::exists(dir.file("x.gguf")));
}

// As llama-imatrix writes them: the matrices of the layers alone.
TEST(Export, MatricesWithoutStatisticsAreRoundedToNearestAndListed) {
  support::TempDir dir;
  const Checkpoint source =
      Checkpoint::open(support::write_tiny_llama(dir.file("m"), {.tied = false}));
  quant::Imatrix imatrix = flat_imatrix(source, false);
  for (auto& [key, t] : imatrix.tensors)
    for (std::size_t i = 0; i < t.sum_squares.size(); ++i)
      t.sum_squares[i] = static_cast<double>(1 + i % 7 * i % 5);
  ExportOptions options;
  options.rounding = quant::Rounding::imatrix;
  options.imatrix = &imatrix;
  const auto bytes_of = [&](const std::string& path, const char* tensor) {
    const core::FileReader reader(path);
    const format::GgufTensor t = *format::GgufHeader::read(reader).tensor(tensor);
    std::vector<std::byte> out(t.bytes);
    reader.read(t.offset, out);
    return out;
  };
  const std::string nearest = dir.file("n.gguf"), all = dir.file("a.gguf"),
                    part = dir.file("p.gguf");
  export_gguf(source, mix(source, "q4_0"), nearest, {}, {});
  export_gguf(source, mix(source, "q4_0"), all, options, {});
  imatrix.tensors.erase({Role::output, -1});
  imatrix.tensors.erase({Role::token_embd, -1});
  export_gguf(source, mix(source, "q4_0"), part, options, {});
  EXPECT_NE(bytes_of(all, "output.weight"), bytes_of(nearest, "output.weight"));
  EXPECT_EQ(bytes_of(part, "output.weight"), bytes_of(nearest, "output.weight"));
  EXPECT_EQ(bytes_of(part, "blk.0.attn_q.weight"), bytes_of(all, "blk.0.attn_q.weight"));
  EXPECT_NE(bytes_of(part, "blk.0.attn_q.weight"), bytes_of(nearest, "blk.0.attn_q.weight"));
  const std::vector<std::string> notes = core::notes();
  EXPECT_EQ(std::count(notes.begin(), notes.end(),
                       "without calibration statistics, and so rounded to nearest: output.weight"),
            1);
}

TEST(Export, ASplitModelHoldsTheSameTensors) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m")));
  ExportOptions options;
  options.part_bytes = 64 << 10;
  const std::string path = dir.file("s.gguf");
  const ExportResult result = export_gguf(source, mix(source, "q8_0"), path, options, {});
  ASSERT_GT(result.files.size(), 1u);
  EXPECT_EQ(result.file_bytes, result.planned_bytes);
  export_gguf(source, mix(source, "q8_0"), dir.file("w.gguf"), {}, {});
  const Checkpoint split = Checkpoint::open(result.files.front()),
                   whole = Checkpoint::open(dir.file("w.gguf"));
  EXPECT_EQ(split.dims(), whole.dims());
  EXPECT_EQ(split.file_bytes(), static_cast<std::uint64_t>(result.file_bytes));
  for (const arch::TensorRef& t : arch::tensors(whole.arch(), whole.dims()))
    EXPECT_EQ(split.read(t.spec->role, t.layer), whole.read(t.spec->role, t.layer));
  // Its identity covers all parts.
  const std::string hash = split.sha256();
  {
    std::fstream last(result.files.back(), std::ios::in | std::ios::out | std::ios::binary);
    last.seekp(-40, std::ios::end);
    last.put('\x55');
  }
  EXPECT_NE(Checkpoint::open(result.files.front()).sha256(), hash);
  EXPECT_NE(refusal([&] { export_gguf(split, mix(split, "q4_0"), result.files.back(), {}, {}); },
                    core::ErrorKind::usage)
                .find("is a file of the model being exported"),
            std::string::npos);
}

// What both configs of a directory name beside the tokenizer's EOS.
TEST(Export, FurtherEndTokensAreKept) {
  support::TempDir dir;
  const std::string model = support::write_tiny_llama(dir.file("m"));
  const auto ids = [&](const char* config, const char* generation) {
    auto json = nlohmann::ordered_json::parse(core::read_text_file(model + "/config.json"));
    json["eos_token_id"] = nlohmann::ordered_json::parse(config);
    core::write_text_file(model + "/config.json", json.dump());
    core::write_text_file(model + "/generation_config.json",
                          std::string("{\"eos_token_id\": ") + generation + "}");
    const Checkpoint source = Checkpoint::open(model);
    export_gguf(source, mix(source, "q8_0"), dir.file("x.gguf"), {}, {});
    const auto header = format::GgufHeader::read(core::FileReader(dir.file("x.gguf")));
    std::vector<std::int64_t> out;
    for (const char* name : {"eos", "eot", "eom"})
      out.push_back(header.optional_integer(std::string("tokenizer.ggml.") + name + "_token_id")
                        .value_or(-1));
    return out;
  };
  using Ids = std::vector<std::int64_t>;
  EXPECT_EQ(ids("2", "2"), (Ids{2, -1, -1}));
  EXPECT_EQ(ids("7", "2"), (Ids{2, 7, -1}));
  EXPECT_EQ(ids("[2, 7]", "[8, 2]"), (Ids{2, 8, 7}));
  // <|endoftext|> needs no key.
  EXPECT_EQ(ids("[7, 0]", "[2, 7, 9]"), (Ids{2, 7, 9}));
  EXPECT_EQ(ids("[7, 10]", "[9]"), (Ids{2, 9, 7}));
  const std::string note = core::notes().back();
  EXPECT_NE(note.find("at token 9, 7, 10, beside EOS"), std::string::npos) << note;
  EXPECT_NE(note.find("no key for token 10"), std::string::npos) << note;
}

TEST(Export, AFinishedFileIsSplitIntoTheSameParts) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m")));
  constexpr std::uint64_t kPart = 40 << 10;
  ExportOptions options;
  options.part_bytes = kPart;
  std::filesystem::create_directory(dir.file("at_once"));
  const ExportResult at_once =
      export_gguf(source, mix(source, "q8_0"), dir.file("at_once/s.gguf"), options, {});
  export_gguf(source, mix(source, "q8_0"), dir.file("w.gguf"), {}, {});
  core::write_text_file(dir.file("s.gguf"), "the whole of an earlier run");
  split_gguf(dir.file("w.gguf"), dir.file("s.gguf"), kPart);
  EXPECT_FALSE(std::filesystem::exists(dir.file("s.gguf")));
  ASSERT_GT(at_once.files.size(), 2u);
  const auto ours = [&](const std::string& part) {
    return dir.file(std::filesystem::path(part).filename().string());
  };
  for (const std::string& part : at_once.files)
    EXPECT_EQ(core::read_text_file(ours(part)), core::read_text_file(part)) << part;
  // What is there stays; what is missing or older is made again.
  const std::string last = ours(at_once.files.back());
  const auto time = std::filesystem::last_write_time(last);
  split_gguf(dir.file("w.gguf"), dir.file("s.gguf"), kPart);
  EXPECT_EQ(std::filesystem::last_write_time(last), time);
  std::filesystem::remove(last);
  split_gguf(dir.file("w.gguf"), dir.file("s.gguf"), kPart);
  EXPECT_EQ(core::read_text_file(last), core::read_text_file(at_once.files.back()));
  std::filesystem::last_write_time(last, time - std::chrono::hours(1));
  split_gguf(dir.file("w.gguf"), dir.file("s.gguf"), kPart);
  EXPECT_GE(std::filesystem::last_write_time(last), time);
}

TEST(Export, ThreadsDoNotChangeTheFile) {
  support::TempDir dir;
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("m")));
  const quant::Imatrix imatrix = flat_imatrix(source, true);
  std::string files[2];
  for (int i = 0; i < 2; ++i) {
    ExportOptions options;
    options.rounding = quant::Rounding::gptq;
    options.imatrix = &imatrix;
    options.threads = i == 0 ? 1 : 3;
    const std::string path = dir.file("t" + std::to_string(i));
    export_gguf(source, mix(source, "q4_0"), path, options, {});
    files[i] = core::read_text_file(path);
  }
  EXPECT_EQ(files[0], files[1]);
}

}  // namespace
}  // namespace espalier::exporter
