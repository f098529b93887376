// SPDX-License-Identifier: Apache-2.0
// Every family on the device: the tiny golden checkpoints exported as F32 GGUF give transformers'
// logits on every instruction set, models that are wrong in one thing do not, files are read back
// as the tensors they were made from, and what stock readers would misread is refused by name.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "export/export_gguf.h"
#include "kernels/linear.h"
#include "runtime/session.h"
#include "support/computed.h"
#include "support/golden_models.h"
#include "support/negative_controls.h"
#include "support/temp_dir.h"
#include "support/triples.h"

namespace espalier::verify {
namespace {

using checkpoint::Checkpoint;

// What stock readers of GGUF have no place for, and the words of the refusal.
const std::map<std::string, std::string> kRefused = {
    {"mistral_window", "window of 7"},    {"smollm3_b", "rotary positions"},
    {"qwen2_b", "window in layer 1"},     {"qwen3_b", "only the biases of q, k and v"},
    {"phi3_window", "window in layer 0"}, {"openelm_b", "use the embedding as the output matrix"}};

void write_f32(Checkpoint source, const std::string& path) {
  source.fill_absent_blocks();
  exporter::ExportOptions options;
  options.no_tokenizer = true;
  exporter::export_gguf(source, plan::quant_plan(source.arch(), source.dims(), "f32"), path,
                        options, {});
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

// Logits, three controls (four where positions are scaled linearly, seven where there are factors)
// and the way there and back of the 32 that have a GGUF; of the others the refusal and a copy.
[[maybe_unused]] const auto* const kTriples =
    testing::AddGlobalTestEnvironment(new support::Triples("device", 32 * 5 + 2 + 4 * 4 + 6 * 2));

// The largest difference of a logit of the file's from `expected`, of sequences one after the
// other.
double device_distance(const std::string& path, std::string_view isa,
                       const std::vector<std::vector<std::int32_t>>& sequences,
                       const std::vector<float>& expected) {
  std::size_t at = 0;
  double worst = 0;
  const auto compare = [&](std::span<const float> logits) {
    for (const float v : logits)
      worst = std::max(worst,
                       std::fabs(static_cast<double>(v) - static_cast<double>(expected.at(at++))));
  };
  for (const auto& sequence : sequences) {
    runtime::Session session(path, {.threads = 2,
                                    .context = 64,
                                    .isa = std::string(isa),
                                    .kv = runtime::SessionOptions::KvType::f32});
    // Half of the tokens at once, the others one by one: both ways through attention.
    const std::size_t half = sequence.size() / 2;
    session.prefill_scored(std::span(sequence).first(half), 0,
                           [&](std::int64_t, std::span<const float> logits) { compare(logits); });
    for (std::size_t t = half; t < sequence.size(); ++t) compare(session.decode_step(sequence[t]));
  }
  EXPECT_EQ(at, expected.size());
  return worst;
}

std::vector<std::string_view> runnable_isas() {
  std::vector<std::string_view> out;
  for (const std::string_view isa : kernels::isa_names())
    if (kernels::isa_runnable(isa)) out.push_back(isa);
  EXPECT_GE(out.size(), 1u);
  return out;
}

class Families : public testing::TestWithParam<const char*> {};

TEST_P(Families, DeviceLogitsEqualTransformers) {
  const support::GoldenModel golden = support::golden_model(GetParam());
  support::TempDir temp;
  const std::string path = temp.file("model.gguf");
  const Checkpoint source = Checkpoint::open(golden.directory);
  if (const auto refused = kRefused.find(GetParam()); refused != kRefused.end()) {
    try {
      write_f32(Checkpoint::open(golden.directory), path);
      FAIL() << "exported";
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find(refused->second), std::string::npos) << e.what();
    }
    support::Triples::passed(source.arch().name, GetParam(), "refused");
    return;
  }
  write_f32(Checkpoint::open(golden.directory), path);
  for (const std::string_view isa : runnable_isas())
    EXPECT_LT(device_distance(path, isa, golden.sequences, golden.values),
              1e-4 * deviation(golden.values))
        << isa;
  support::Triples::passed(source.arch().name, GetParam(), "logits");
}

// At the distances that transformers measured.
TEST_P(Families, NegativeControlsAreSeen) {
  if (kRefused.contains(GetParam())) return;  // no GGUF of it
  const support::GoldenModel golden = support::golden_model(GetParam());
  const Checkpoint source = Checkpoint::open(golden.directory);
  const auto controls = support::negative_controls(source);
  EXPECT_EQ(controls.size(), golden.control_distances.size());
  for (const auto& [control, wrong] : controls) {
    support::TempDir temp;
    wrong.save(temp.file("wrong"), source, {});
    write_f32(Checkpoint::open(temp.file("wrong")), temp.file("wrong.gguf"));
    const double expected = golden.control_distances.at(control);
    for (const std::string_view isa : runnable_isas())
      EXPECT_NEAR(device_distance(temp.file("wrong.gguf"), isa, golden.sequences, golden.values),
                  expected, 1e-3 * expected)
          << control << " " << isa;
    support::Triples::passed(source.arch().name, GetParam(), "wrong: " + control);
  }
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
      EXPECT_EQ(copy.read(t.spec->role, t.layer), source.read(t.spec->role, t.layer))
          << arch::gguf_name(t.spec->role, t.layer);
    support::Triples::passed(source.arch().name, GetParam(), "directory to directory");
    return;
  }
  const std::string first = temp.file("first.gguf"), second = temp.file("second.gguf"),
                    directory = temp.file("directory");
  write_f32(Checkpoint::open(golden.directory), first);
  const Checkpoint read = Checkpoint::open(first);
  checkpoint::import_checkpoint(read, directory, {.dtype = format::FormatId::f32}, {});
  const Checkpoint again = Checkpoint::open(directory);
  EXPECT_EQ(again.dims().layers, read.dims().layers);
  EXPECT_EQ(again.dims().rope_linear, read.dims().rope_linear);
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
    const auto floats = [](const std::vector<std::byte>& x) {
      return std::span(reinterpret_cast<const float*>(x.data()), x.size() / sizeof(float));
    };
    for (std::size_t i = 0; i < floats(bytes).size(); ++i)
      EXPECT_NEAR(floats(bytes)[i], floats(b.at(name))[i],
                  name.find("norm") == std::string::npos ? 0 : 6e-8f)
          << name;
  }
  support::Triples::passed(Checkpoint::open(golden.directory).arch().name, GetParam(),
                           "GGUF to directory to GGUF");
}

// Two checkpoints of every family, and two that have a GGUF, so that the device and stock readers
// judge them.
TEST(FamiliesTable, EveryFamilyIsJudgedTwice) {
  std::map<std::string_view, int> judged, on_device;
  for (const char* name : support::kGoldenModels) {
    const std::string_view family =
        Checkpoint::open(support::golden_model(name).directory).arch().name;
    ++judged[family];
    if (!kRefused.contains(name)) ++on_device[family];
  }
  EXPECT_EQ(judged.size(), support::computed_archs().size());
  for (const arch::Arch* a : support::computed_archs()) {
    EXPECT_GE(judged[a->name], 2) << a->name;
    EXPECT_GE(on_device[a->name], 2) << a->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Families, testing::ValuesIn(support::kGoldenModels),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace espalier::verify
