// Every family on the device: the tiny golden checkpoints exported as F32 GGUF give transformers' logits on every instruction set, are read
// back as the tensors they were made from, and what stock readers would misread is refused by name.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "export/export_gguf.h"
#include "kernels/linear.h"
#include "runtime/session.h"
#include "support/golden_models.h"
#include "support/temp_dir.h"

namespace espalier::verify {
namespace {

using checkpoint::Checkpoint;

// What stock readers of GGUF have no place for, and the words of the refusal.
const std::map<std::string, std::string> kRefused = {{"mistral_window", "window of 7"},
                                                     {"smollm3_b", "rotary positions"},
                                                     {"qwen2_b", "window in layer 1"},
                                                     {"qwen3_b", "no biases but those of q, k and v"},
                                                     {"phi3_window", "window in layer 0"},
                                                     {"openelm_b", "take the embedding for the output matrix"}};

void write_f32(Checkpoint source, const std::string& path) {
  source.fill_absent_blocks();
  exporter::export_gguf(source, plan::quant_plan(source.arch(), source.dims(), "f32"), path, {}, {});
}

double deviation(const std::vector<float>& x) {
  double sum = 0, squares = 0;
  for (const float v : x) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const double n = static_cast<double>(x.size());
  return std::sqrt(squares / n - sum / n * sum / n);
}

class Families : public testing::TestWithParam<const char*> {};

TEST_P(Families, DeviceLogitsEqualTransformers) {
  const support::GoldenModel golden = support::golden_model(GetParam());
  support::TempDir temp;
  const std::string path = temp.file("model.gguf");
  if (const auto refused = kRefused.find(GetParam()); refused != kRefused.end()) {
    try {
      write_f32(Checkpoint::open(golden.directory), path);
      FAIL() << "exported";
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find(refused->second), std::string::npos) << e.what();
    }
    return;
  }
  write_f32(Checkpoint::open(golden.directory), path);
  const double tolerance = 1e-4 * deviation(golden.values);
  int isas = 0;
  for (const std::string_view isa : kernels::isa_names()) {
    if (!kernels::isa_runnable(isa)) continue;
    ++isas;
    std::size_t at = 0;
    for (const auto& sequence : golden.sequences) {
      runtime::Session session(path, {.threads = 2, .context = 64, .isa = std::string(isa), .kv = runtime::SessionOptions::KvType::f32});
      double worst = 0;
      const auto compare = [&](std::span<const float> logits) {
        for (const float v : logits) worst = std::max(worst, std::fabs(static_cast<double>(v) - static_cast<double>(golden.values.at(at++))));
      };
      // Half of the tokens at once, the others one by one: both ways through attention.
      const std::size_t half = sequence.size() / 2;
      session.prefill_scored(std::span(sequence).first(half), 0, [&](std::int64_t, std::span<const float> logits) { compare(logits); });
      for (std::size_t t = half; t < sequence.size(); ++t) compare(session.decode_step(sequence[t]));
      EXPECT_LT(worst, tolerance) << isa;
    }
    EXPECT_EQ(at, golden.values.size());
  }
  EXPECT_GE(isas, 1);
}

TEST_P(Families, GgufToDirectoryToGgufIsTheIdentity) {
  const support::GoldenModel golden = support::golden_model(GetParam());
  support::TempDir temp;
  if (kRefused.contains(GetParam())) {  // no GGUF of it: directory to directory
    const Checkpoint source = Checkpoint::open(golden.directory);
    checkpoint::import_checkpoint(source, temp.file("copy"), {.dtype = format::FormatId::f32}, {});
    const Checkpoint copy = Checkpoint::open(temp.file("copy"));
    EXPECT_EQ(copy.dims(), source.dims());
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
      EXPECT_EQ(copy.read(t.spec->role, t.layer), source.read(t.spec->role, t.layer)) << arch::gguf_name(t.spec->role, t.layer);
    return;
  }
  const std::string first = temp.file("first.gguf"), second = temp.file("second.gguf"), directory = temp.file("directory");
  write_f32(Checkpoint::open(golden.directory), first);
  const Checkpoint read = Checkpoint::open(first);
  checkpoint::import_checkpoint(read, directory, {.dtype = format::FormatId::f32}, {});
  const Checkpoint again = Checkpoint::open(directory);
  EXPECT_EQ(again.dims().layers, read.dims().layers);
  write_f32(Checkpoint::open(directory), second);
  const auto tensors = [](const std::string& path) {
    const core::FileReader file(path);
    std::map<std::string, std::vector<std::byte>> out;
    const auto header = format::GgufHeader::read(file);
    for (const format::GgufTensor& t : header.tensors()) {
      std::vector<std::byte>& bytes = out[t.name];
      bytes.resize(t.bytes);
      file.read(t.offset, bytes);
    }
    return out;
  };
  const auto a = tensors(first), b = tensors(second);
  ASSERT_EQ(a.size(), b.size());
  const arch::Norm norm = read.arch().norm;
  for (const auto& [name, bytes] : a) {
    if (norm == arch::Norm::rms || norm == arch::Norm::layer) {
      EXPECT_TRUE(bytes == b.at(name)) << name;
      continue;
    }
    // Gains lose one and get it back: exact above one half, a rounding step below.
    const auto floats = [](const std::vector<std::byte>& x) { return std::span(reinterpret_cast<const float*>(x.data()), x.size() / sizeof(float)); };
    for (std::size_t i = 0; i < floats(bytes).size(); ++i) EXPECT_NEAR(floats(bytes)[i], floats(b.at(name))[i], name.find("norm") == std::string::npos ? 0 : 6e-8f) << name;
  }
}

TEST(FamiliesTable, EveryFamilyIsJudged) {
  std::set<std::string_view> judged;
  for (const char* name : support::kGoldenModels) judged.insert(Checkpoint::open(support::golden_model(name).directory).arch().name);
  EXPECT_EQ(judged.size(), arch::all_archs().size());
}

INSTANTIATE_TEST_SUITE_P(Golden, Families, testing::ValuesIn(support::kGoldenModels), [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace espalier::verify
