// Sizes survive the way through GGUF metadata exactly. Refusals are in runtime/weights_test.cpp, where whole files are opened.
#include "arch/gguf_dims.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace espalier::arch {
namespace {

const Arch& llama() { return *arch_by_gguf_name("llama"); }

// Writes dims alone, with the named tensors (one value each); reads them back.
GgufModel through_file(const support::TempDir& dir, const ModelDims& dims, const std::vector<std::string>& tensors,
                       void (*edit)(format::GgufWriter&) = nullptr) {
  format::GgufWriter writer(dir.file("d.gguf"));
  write_gguf_model(llama(), dims, writer);
  if (edit != nullptr) edit(writer);
  for (const std::string& name : tensors) writer.add_tensor(name, {1}, format::FormatId::f32);
  writer.begin();
  for (std::size_t i = 0; i < tensors.size(); ++i) writer.write(std::vector<std::byte>(4));
  writer.finish();
  return read_gguf_model(format::GgufHeader::read(core::FileReader(dir.file("d.gguf"))));
}

ModelDims some_dims() {
  ModelDims d;
  d.vocab = 49152;
  d.hidden = 576;
  d.head_dim = 64;
  d.positions = 8192;
  d.layers.assign(3, {3, 3, 1536});
  d.norm_eps = 1e-5;
  d.rope_theta = 100000;
  return d;
}

TEST(GgufDims, RoundTrip) {
  support::TempDir dir;
  ModelDims d = some_dims();
  EXPECT_EQ(through_file(dir, d, {"output.weight"}).dims, d);
  EXPECT_EQ(through_file(dir, d, {"output.weight"}).arch, &llama());
  d.tied = true;
  EXPECT_EQ(through_file(dir, d, {"token_embd.weight"}).dims, d);
  d.layers[1] = {2, 3, 1024};
  d.layers[2] = {3, 1, 512};
  d.norm_eps = 3e-6;
  d.rope_theta = 1234567;
  EXPECT_EQ(through_file(dir, d, {}).dims, d);
  d.rope_scaling = {.factor = 32, .low_freq_factor = 1, .high_freq_factor = 4, .original_positions = 8192};
  const GgufModel scaled = through_file(dir, d, {"rope_freqs.weight"});
  EXPECT_EQ(scaled.dims, d);
  EXPECT_TRUE(scaled.rope_factors);
}

TEST(GgufDims, OneNumberWhenLayersAgree) {
  support::TempDir dir;
  ModelDims d = some_dims();
  through_file(dir, d, {});
  const auto same = format::GgufHeader::read(core::FileReader(dir.file("d.gguf")));
  EXPECT_EQ(same.integer("llama.feed_forward_length"), 1536);
  EXPECT_EQ(same.integer("llama.attention.head_count"), 9);
  d.layers[0].ffn = 1024;
  through_file(dir, d, {});
  const auto mixed = format::GgufHeader::read(core::FileReader(dir.file("d.gguf")));
  EXPECT_EQ(mixed.array("llama.feed_forward_length").numbers, (std::vector<double>{1024, 1536, 1536}));
  EXPECT_EQ(mixed.integer("llama.attention.head_count_kv"), 3);
}

// Files of others leave out what follows from the rest.
TEST(GgufDims, Defaults) {
  support::TempDir dir;
  format::GgufWriter writer(dir.file("d.gguf"));
  using format::GgufValue;
  writer.set("general.architecture", GgufValue::string("llama"));
  writer.set("llama.block_count", GgufValue::u32(2));
  writer.set("llama.context_length", GgufValue::u32(512));
  writer.set("llama.embedding_length", GgufValue::u32(64));
  writer.set("llama.feed_forward_length", GgufValue::u32(172));
  writer.set("llama.attention.head_count", GgufValue::u32(8));
  writer.set("llama.attention.layer_norm_rms_epsilon", GgufValue::f32(1e-5f));
  writer.set("tokenizer.ggml.tokens", GgufValue::strings({"a", "b", "c"}));
  writer.begin();
  writer.finish();
  const GgufModel m = read_gguf_model(format::GgufHeader::read(core::FileReader(dir.file("d.gguf"))));
  EXPECT_EQ(m.dims.head_dim, 8);
  EXPECT_EQ(m.dims.layers, (std::vector<LayerDims>(2, {8, 1, 172})));
  EXPECT_EQ(m.dims.vocab, 3);
  EXPECT_EQ(m.dims.rope_theta, 10000);
  EXPECT_EQ(m.dims.norm_eps, 1e-5);
  EXPECT_TRUE(m.dims.tied);
  EXPECT_FALSE(m.rope_factors);
}

}  // namespace
}  // namespace espalier::arch
