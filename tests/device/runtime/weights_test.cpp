// SPDX-License-Identifier: Apache-2.0
// Files that do not fit the architecture are refused, with every problem named; files that are cut
// or lie about sizes too.
#include "runtime/weights.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "arch/gguf_dims.h"
#include "runtime/expect_error.h"
#include "runtime/plain_model.h"
#include "runtime/session.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

using core::ErrorKind;
using format::FormatId;
using format::GgufValue;
using support::expect_error;

struct Tensor {
  std::string name;
  std::vector<std::int64_t> ne;
};
using Edit = std::function<void(format::GgufWriter&, std::vector<Tensor>&)>;

// A sound file of zeros (hidden 32, 2 heads of 16, ffn 48, vocab 40, one layer) after `edit`.
std::string write_file(const support::TempDir& dir, const Edit& edit) {
  arch::ModelDims dims;
  dims.vocab = 40;
  dims.hidden = 32;
  dims.head_dim = 16;
  dims.positions = 64;
  dims.layers = support::layer_list({{1, 2, 48}});
  dims.tied = true;
  const arch::Arch& llama = *arch::arch_by_gguf_name("llama");
  format::GgufWriter writer(dir.file("m.gguf"));
  arch::write_gguf_model(llama, dims, writer);
  std::vector<Tensor> tensors;
  for (const arch::TensorRef& ref : arch::tensors(llama, dims))
    tensors.push_back({arch::gguf_name(ref.spec->role, ref.layer),
                       ref.is_vector ? std::vector{ref.rows} : std::vector{ref.cols, ref.rows}});
  if (edit) edit(writer, tensors);
  std::size_t bytes = 0;
  for (const Tensor& t : tensors) {
    writer.add_tensor(t.name, t.ne, FormatId::f32);
    std::size_t n = 4;
    for (const std::int64_t d : t.ne) n *= static_cast<std::size_t>(d);
    bytes = std::max(bytes, n);
  }
  writer.begin();
  for (const Tensor& t : tensors) {
    std::size_t n = 4;
    for (const std::int64_t d : t.ne) n *= static_cast<std::size_t>(d);
    writer.write(std::vector<std::byte>(n));
  }
  writer.finish();
  return dir.file("m.gguf");
}

Tensor& named(std::vector<Tensor>& tensors, const std::string& name) {
  for (Tensor& t : tensors)
    if (t.name == name) return t;
  ADD_FAILURE() << name;
  return tensors.front();
}

TEST(Weights, SoundFile) {
  support::TempDir dir;
  Session session(write_file(dir, {}), {.threads = 1});
  EXPECT_EQ(session.dims().vocab, 40);
  EXPECT_TRUE(session.dims().tied);
  EXPECT_EQ(session.decode_step(3).size(), 40u);
}

TEST(Weights, AllProblemsAtOnce) {
  support::TempDir dir;
  const std::string path = write_file(dir, [](format::GgufWriter&, std::vector<Tensor>& tensors) {
    named(tensors, "blk.0.attn_k.weight").ne = {32, 32};
    named(tensors, "blk.0.ffn_down.weight").ne = {32, 48};
    named(tensors, "output_norm.weight").name = "outputnorm.weight";
    tensors.push_back({"blk.0.attn_sinks.weight", {32}});
  });
  expect_error(
      [&] { Session(path, {}); }, ErrorKind::input,
      {path, "5 problems", "'blk.0.attn_k.weight' has the shape [32, 32], expected [32, 16]",
       "'blk.0.ffn_down.weight' has the shape [32, 48], expected [48, 32]",
       "'output_norm.weight' is missing", "'outputnorm.weight' is not part"});
}

TEST(Weights, RefusedMetadata) {
  struct Case {
    const char* name;
    Edit edit;
    ErrorKind kind;
    std::vector<std::string> parts;
  };
  const auto set = [](std::string key, GgufValue value) -> Edit {
    return [key, value](format::GgufWriter& w, std::vector<Tensor>&) { w.set(key, value); };
  };
  const std::vector<Case> cases = {
      {"architecture",
       set("general.architecture", GgufValue::string("mamba")),
       ErrorKind::unsupported,
       {"mamba", "llama"}},
      {"sliding window",
       set("llama.attention.sliding_window", GgufValue::u32(512)),
       ErrorKind::unsupported,
       {"llama.attention.sliding_window"}},
      {"experts",
       set("llama.expert_count", GgufValue::u32(8)),
       ErrorKind::unsupported,
       {"llama.expert_count"}},
      {"unknown key",
       set("llama.attention.magic", GgufValue::f32(1)),
       ErrorKind::unsupported,
       {"llama.attention.magic"}},
      {"RoPE scaling",
       set("llama.rope.scaling.type", GgufValue::string("yarn")),
       ErrorKind::unsupported,
       {"llama.rope.scaling.type", "yarn"}},
      {"linear RoPE",
       set("llama.rope.scaling.factor", GgufValue::f32(-2)),
       ErrorKind::input,
       {"llama.rope.scaling.factor"}},
      {"partial rope",
       set("llama.rope.dimension_count", GgufValue::u32(8)),
       ErrorKind::unsupported,
       {"llama.rope.dimension_count", "16"}},
      {"value length",
       set("llama.attention.value_length", GgufValue::u32(8)),
       ErrorKind::unsupported,
       {"llama.attention.value_length"}},
      {"odd heads",
       set("llama.attention.key_length", GgufValue::u32(15)),
       ErrorKind::unsupported,
       {"15"}},
      {"no layers",
       set("llama.block_count", GgufValue::u32(0)),
       ErrorKind::input,
       {"llama.block_count"}},
      {"many layers",
       set("llama.block_count", GgufValue::u32(4000000000u)),
       ErrorKind::input,
       {"llama.block_count"}},
      {"hidden",
       set("llama.embedding_length", GgufValue::u32(0)),
       ErrorKind::input,
       {"llama.embedding_length"}},
      {"huge hidden",
       set("llama.embedding_length", GgufValue::u32(4000000000u)),
       ErrorKind::input,
       {"llama.embedding_length"}},
      {"heads",
       set("llama.attention.head_count", GgufValue::u32(0)),
       ErrorKind::input,
       {"0 heads"}},
      {"heads do not group",
       set("llama.attention.head_count_kv", GgufValue::u32(3)),
       ErrorKind::input,
       {"2 heads and 3"}},
      {"array too short",
       set("llama.feed_forward_length", GgufValue::i32s({48, 48})),
       ErrorKind::input,
       {"llama.feed_forward_length", "2 entries"}},
      {"negative entry",
       set("llama.feed_forward_length", GgufValue::i32s({-48})),
       ErrorKind::input,
       {"llama.feed_forward_length", "-48"}},
      {"type",
       set("llama.block_count", GgufValue::string("one")),
       ErrorKind::input,
       {"llama.block_count"}},
      {"context",
       set("llama.context_length", GgufValue::u32(0)),
       ErrorKind::input,
       {"llama.context_length"}},
      {"eps",
       set("llama.attention.layer_norm_rms_epsilon", GgufValue::f32(-1)),
       ErrorKind::input,
       {"layer_norm_rms_epsilon"}},
      {"theta",
       set("llama.rope.freq_base", GgufValue::f32(0)),
       ErrorKind::input,
       {"llama.rope.freq_base"}},
      {"vocabulary",
       set("llama.vocab_size", GgufValue::u32(41)),
       ErrorKind::input,
       {"token_embd.weight", "[32, 40]", "[32, 41]"}},
      {"tokens listed",
       set("tokenizer.ggml.tokens", GgufValue::strings({"a", "b"})),
       ErrorKind::input,
       {"llama.vocab_size", "2 tokens"}},
  };
  ASSERT_EQ(cases.size(), 23u);
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    support::TempDir dir;
    const std::string path = write_file(dir, c.edit);
    std::vector<std::string> parts = c.parts;
    parts.push_back(path);
    expect_error([&] { Session(path, {.threads = 1}); }, c.kind, parts);
  }
}

TEST(Weights, NeutralKeysAreTaken) {
  support::TempDir dir;
  const std::string path = write_file(dir, [](format::GgufWriter& w, std::vector<Tensor>&) {
    w.set("llama.expert_count", GgufValue::u32(0));
    w.set("llama.rope.scaling.type", GgufValue::string("none"));
    w.set("llama.rope.scaling.factor", GgufValue::f32(4));
    w.set("general.url", GgufValue::string("x"));
  });
  EXPECT_NO_THROW(Session(path, {.threads = 1}));
}

TEST(Weights, TruncatedAnywhere) {
  support::TempDir dir;
  const std::string path = write_file(dir, {});
  const auto size = std::filesystem::file_size(path);
  const std::string cut = dir.file("cut.gguf");
  for (const double share : {0.0, 0.001, 0.02, 0.1, 0.5, 0.99}) {
    std::filesystem::copy_file(path, cut, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(cut,
                                 static_cast<std::uintmax_t>(static_cast<double>(size) * share));
    expect_error([&] { Session(cut, {.threads = 1}); }, ErrorKind::input, {cut});
  }
  expect_error([&] { Session(dir.file("absent.gguf"), {}); }, ErrorKind::input, {"absent.gguf"});
}

// Llama-3 files carry the divisors of the rotation's frequencies as a tensor.
TEST(Weights, RopeFactors) {
  support::TempDir dir;
  const auto with = [&](std::vector<float> factors) {
    format::GgufWriter writer(dir.file("r.gguf"));
    const support::PlainModel model = support::random_model({.layers = {{3, 2, 100}}}, 4);
    const arch::Arch& llama = *arch::arch_by_gguf_name("llama");
    arch::write_gguf_model(llama, model.dims, writer);
    writer.add_tensor("rope_freqs.weight", {static_cast<std::int64_t>(factors.size())},
                      FormatId::f32);
    for (const arch::TensorRef& ref : arch::tensors(llama, model.dims))
      writer.add_tensor(arch::gguf_name(ref.spec->role, ref.layer),
                        ref.is_vector ? std::vector{ref.rows} : std::vector{ref.cols, ref.rows},
                        FormatId::f32);
    writer.begin();
    writer.write(std::as_bytes(std::span<const float>(factors)));
    for (const arch::TensorRef& ref : arch::tensors(llama, model.dims))
      writer.write(std::as_bytes(std::span<const float>(model.tensor(ref.spec->role, ref.layer))));
    writer.finish();
    return dir.file("r.gguf");
  };
  core::ThreadPool pool(1);
  const Weights plain =
      load_weights(with({1, 1, 1, 1, 1, 1}), kernels::select_isa("reference"), pool);
  const Weights scaled =
      load_weights(with({1, 1, 2, 4, 8, 8}), kernels::select_isa("reference"), pool);
  ASSERT_EQ(plain.inverse_frequencies.size(), 6u);
  const double divisors[] = {1, 1, 2, 4, 8, 8};
  for (std::size_t i = 0; i < 6; ++i)
    EXPECT_DOUBLE_EQ(scaled.inverse_frequencies[i], plain.inverse_frequencies[i] / divisors[i]);
  EXPECT_EQ(plain.inverse_frequencies[0], 1.0);
  expect_error([&] { Session(with({1, 1, 0, 1, 1, 1}), {}); }, ErrorKind::input,
               {"rope_freqs.weight"});
  expect_error([&] { Session(with({1, 1}), {}); }, ErrorKind::input,
               {"rope_freqs.weight", "[2]", "[6]"});
}

}  // namespace
}  // namespace espalier::runtime
