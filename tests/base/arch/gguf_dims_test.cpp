// SPDX-License-Identifier: Apache-2.0
// Sizes survive the way through GGUF metadata exactly. Refusals are in runtime/weights_test.cpp,
// where whole files are opened.
#include "arch/gguf_dims.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "support/layer_sizes.h"
#include "support/temp_dir.h"

namespace espalier::arch {
namespace {

const Arch& llama() { return *arch_by_gguf_name("llama"); }

// Writes dims alone, with the named tensors (one value each); reads them back.
GgufModel through_file(const support::TempDir& dir, const ModelDims& dims,
                       const std::vector<std::string>& tensors,
                       void (*edit)(format::GgufWriter&) = nullptr, const Arch& arch = llama()) {
  format::GgufWriter writer(dir.file("d.gguf"));
  write_gguf_model(arch, dims, writer);
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
  d.layers.assign(3, support::layer_sizes(3, 3, 1536));
  d.norm_eps = 1e-5;
  d.rope_theta = 100000;
  return d;
}

// Why a GGUF of these sizes is refused. Empty: it is not.
std::string refusal(const char* arch, const ModelDims& d) {
  try {
    gguf_family_for(*arch_by_name(arch), d);
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
    return e.what();
  }
  return "";
}

TEST(GgufDims, RoundTrip) {
  support::TempDir dir;
  ModelDims d = some_dims();
  EXPECT_EQ(through_file(dir, d, {"output.weight"}).dims, d);
  EXPECT_EQ(through_file(dir, d, {"output.weight"}).arch, &llama());
  d.tied = true;
  EXPECT_EQ(through_file(dir, d, {"token_embd.weight"}).dims, d);
  d.layers[1] = support::layer_sizes(2, 3, 1024);
  d.layers[2] = support::layer_sizes(3, 1, 512);
  d.norm_eps = 3e-6;
  d.rope_theta = 1234567;
  EXPECT_EQ(through_file(dir, d, {}).dims, d);
  d.rope_scaling = {
      .factor = 32, .low_freq_factor = 1, .high_freq_factor = 4, .original_positions = 8192};
  const GgufModel scaled = through_file(dir, d, {"rope_freqs.weight"});
  EXPECT_EQ(scaled.dims, d);
  EXPECT_TRUE(scaled.rope_factors);
}

TEST(GgufDims, Factors) {
  support::TempDir dir;
  using format::GgufValue;
  const Arch& granite = *arch_by_name("granite");
  ModelDims d = some_dims();
  d.embedding_factor = 12;
  d.attention_scale = 0.015625;
  d.residual_factor = 0.22;
  d.logit_divisor = 8;
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, nullptr, granite).dims, d);
  const auto header = format::GgufHeader::read(core::FileReader(dir.file("d.gguf")));
  EXPECT_FLOAT_EQ(static_cast<float>(header.real("granite.embedding_scale")), 12);
  EXPECT_FLOAT_EQ(static_cast<float>(header.real("granite.attention.scale")), 0.015625);
  EXPECT_FLOAT_EQ(static_cast<float>(header.real("granite.residual_scale")), 0.22f);
  EXPECT_FLOAT_EQ(static_cast<float>(header.real("granite.logit_scale")), 8);
  // The scale is always stated, because transformers takes an absent one for 1.
  EXPECT_EQ(
      through_file(dir, some_dims(), {"output.weight"}, nullptr, granite).dims.attention_scale,
      0.125);
  // Of a file that states none, all are neutral.
  format::GgufWriter writer(dir.file("none.gguf"));
  for (const auto& [name, value] : header.metadata())
    if (name.find("scale") == std::string::npos) writer.set(name, value);
  writer.add_tensor("output.weight", {1}, format::FormatId::f32);
  writer.begin();
  writer.write(std::vector<std::byte>(4));
  writer.finish();
  EXPECT_EQ(read_gguf_model(format::GgufHeader::read(core::FileReader(dir.file("none.gguf")))).dims,
            some_dims());
  for (const float bad : {0.0f, -2.0f, std::nanf("")})
    for (const char* key :
         {"embedding_scale", "attention.scale", "residual_scale", "logit_scale"}) {
      format::GgufWriter other(dir.file("bad.gguf"));
      write_gguf_model(granite, d, other);
      other.set(std::string("granite.") + key, GgufValue::f32(bad));
      other.begin();
      other.finish();
      EXPECT_THROW(
          read_gguf_model(format::GgufHeader::read(core::FileReader(dir.file("bad.gguf")))),
          core::Error)
          << key << " " << bad;
    }
  // In granite, rope.scaling.finetuned switches the rotation. In llama it says nothing.
  const auto read_with = [&](const Arch& arch, const char* key, const GgufValue& value) {
    format::GgufWriter other(dir.file("key.gguf"));
    write_gguf_model(arch, some_dims(), other);
    other.set(std::string(arch.gguf) + key, value);
    other.begin();
    other.finish();
    return read_gguf_model(format::GgufHeader::read(core::FileReader(dir.file("key.gguf"))));
  };
  EXPECT_THROW(read_with(granite, ".rope.scaling.finetuned", GgufValue::boolean(false)),
               core::Error);
  EXPECT_NO_THROW(read_with(granite, ".rope.scaling.finetuned", GgufValue::boolean(true)));
  EXPECT_NO_THROW(read_with(llama(), ".rope.scaling.finetuned", GgufValue::boolean(false)));
  EXPECT_THROW(read_with(llama(), ".residual_scale", GgufValue::f32(0.5f)), core::Error);
  EXPECT_THROW(read_with(llama(), ".attention.scale", GgufValue::f32(0.5f)), core::Error);
  EXPECT_NO_THROW(read_with(llama(), ".residual_scale", GgufValue::f32(1)));
}

TEST(GgufDims, Experts) {
  support::TempDir dir;
  using format::GgufValue;
  const Arch& qwen3moe = *arch_by_name("qwen3moe");
  ModelDims d = some_dims();
  for (LayerDims& l : d.layers) {
    l[Axis::ffn] = 0;
    l[Axis::experts] = 16;
    l[Axis::expert_ffn] = 96;
    l[Axis::experts_per_token] = 4;
  }
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, nullptr, qwen3moe).dims, d);
  const auto header = format::GgufHeader::read(core::FileReader(dir.file("d.gguf")));
  EXPECT_EQ(header.integer("qwen3moe.expert_count"), 16);
  EXPECT_EQ(header.integer("qwen3moe.expert_used_count"), 4);
  EXPECT_EQ(header.integer("qwen3moe.expert_feed_forward_length"), 96);
  // Files of others state the width of an FFN that no layer has.
  const auto with_ffn = [](format::GgufWriter& w) {
    w.set("qwen3moe.feed_forward_length", GgufValue::u32(6144));
  };
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, with_ffn, qwen3moe).dims, d);
  EXPECT_THROW(
      through_file(
          dir, d, {},
          [](format::GgufWriter& w) { w.set("qwen3moe.expert_used_count", GgufValue::u32(17)); },
          qwen3moe),
      core::Error);
  EXPECT_THROW(
      through_file(
          dir, d, {},
          [](format::GgufWriter& w) { w.set("qwen3moe.expert_shared_count", GgufValue::u32(1)); },
          qwen3moe),
      core::Error);
  EXPECT_THROW(
      through_file(dir, some_dims(), {},
                   [](format::GgufWriter& w) { w.set("llama.expert_count", GgufValue::u32(16)); }),
      core::Error);
}

TEST(GgufDims, LinearScaling) {
  support::TempDir dir;
  using format::GgufValue;
  const Arch &gemma3 = *arch_by_name("gemma3"), &phi3 = *arch_by_name("phi3"),
             &gpt2 = *arch_by_name("gpt2");
  ModelDims d = some_dims();
  d.rope_linear = 2.5;
  EXPECT_EQ(through_file(dir, d, {"output.weight"}).dims, d);
  EXPECT_EQ(format::GgufHeader::read(core::FileReader(dir.file("d.gguf")))
                .text("llama.rope.scaling.type"),
            "linear");
  d.rope_linear = 8;
  d.local_rope_theta = 10000;
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, nullptr, gemma3).dims.rope_linear, 8);
  // Files of others: without a type, by the older key, or switched off.
  d = some_dims();
  const auto rope_linear = [&](void (*edit)(format::GgufWriter&)) {
    return through_file(dir, d, {"output.weight"}, edit).dims.rope_linear;
  };
  EXPECT_EQ(rope_linear([](format::GgufWriter& w) {
              w.set("llama.rope.scaling.factor", GgufValue::f32(4));
            }),
            4);
  EXPECT_EQ(rope_linear(
                [](format::GgufWriter& w) { w.set("llama.rope.scale_linear", GgufValue::f32(4)); }),
            4);
  EXPECT_EQ(rope_linear([](format::GgufWriter& w) {
              w.set("llama.rope.scaling.factor", GgufValue::f32(0));
            }),
            1);
  EXPECT_EQ(rope_linear([](format::GgufWriter& w) {
              w.set("llama.rope.scaling.type", GgufValue::string("none"));
              w.set("llama.rope.scaling.factor", GgufValue::f32(4));
            }),
            1);
  for (const float bad : {-2.0f, 1e7f, std::nanf("")}) {
    format::GgufWriter writer(dir.file("bad.gguf"));
    write_gguf_model(llama(), d, writer);
    writer.set("llama.rope.scaling.factor", GgufValue::f32(bad));
    writer.begin();
    writer.finish();
    EXPECT_THROW(read_gguf_model(format::GgufHeader::read(core::FileReader(dir.file("bad.gguf")))),
                 core::Error)
        << bad;
  }
  d.rope_linear = 4;
  EXPECT_THROW(through_file(dir, d, {"output.weight", "rope_freqs.weight"}),
               core::Error);  // two kinds at once
  const auto longrope = [](format::GgufWriter& w) {
    w.set("phi3.rope.scaling.type", GgufValue::string("longrope"));
  };
  d.rope_linear = 1;
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, longrope, phi3).dims,
            d);  // what converters write beside the divisors
  EXPECT_THROW(through_file(dir, d, {"output.weight"},
                            [](format::GgufWriter& w) {
                              w.set("llama.rope.scaling.type", GgufValue::string("longrope"));
                            }),
               core::Error);
  for (LayerDims& l : d.layers) l[Axis::q_per_kv] = 1;
  EXPECT_THROW(
      through_file(
          dir, d, {"output.weight"},
          [](format::GgufWriter& w) { w.set("gpt2.rope.scaling.factor", GgufValue::f32(4)); },
          gpt2),
      core::Error);
}

TEST(GgufDims, LongRopeAndPartialRotation) {
  support::TempDir dir;
  const Arch& phi3 = *arch_by_name("phi3");
  ModelDims d = some_dims();
  d.rotary_dim = 48;
  d.window = 262144;
  for (LayerDims& l : d.layers) l.local = true;
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, nullptr, phi3).dims, d);
  d.long_rope = {.short_factors = {1},
                 .long_factors = {2},
                 .original_positions = 4096,
                 .attention_factor = 1.19};
  const GgufModel stretched = through_file(
      dir, d, {"output.weight", "rope_factors_long.weight", "rope_factors_short.weight"}, nullptr,
      phi3);
  EXPECT_TRUE(stretched.long_factors);
  d.long_rope.short_factors =
      d.long_rope.long_factors = {};  // tensors, which metadata does not hold
  EXPECT_EQ(stretched.dims, d);
  d.long_rope.short_factors = {1};
  EXPECT_THROW(through_file(dir, d, {"output.weight", "rope_factors_long.weight"}, nullptr, phi3),
               core::Error);  // one without the other
  EXPECT_THROW(through_file(dir, d, {"output.weight"}, nullptr, phi3),
               core::Error);  // a factor without divisors
}

TEST(GgufDims, LayerNormsAndLearnedPositionsHaveTheirOwnKeys) {
  support::TempDir dir;
  ModelDims d = some_dims();
  d.rope_theta = 10000;
  for (LayerDims& l : d.layers) {
    l[Axis::q_per_kv] = 1;
    l.rope = false;
  }
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, nullptr, *arch_by_name("gpt2")).dims, d);
  const auto header = format::GgufHeader::read(core::FileReader(dir.file("d.gguf")));
  EXPECT_NE(header.find("gpt2.attention.layer_norm_epsilon"), nullptr);
  EXPECT_EQ(header.find("gpt2.rope.freq_base"), nullptr);
  const auto rotated = [](format::GgufWriter& w) {
    w.set("gpt2.rope.dimension_count", format::GgufValue::u32(64));
  };
  EXPECT_THROW(through_file(dir, d, {"output.weight"}, rotated, *arch_by_name("gpt2")),
               core::Error);
}

// What stock readers would misread is refused by name.
TEST(GgufDims, TargetsOfFusedAndNormedFamilies) {
  ModelDims d = some_dims();
  EXPECT_EQ(refusal("phi3", d), "");
  EXPECT_EQ(refusal("nemotron", d), "");
  d.tied = true;
  EXPECT_EQ(refusal("phi3", d), "");
  EXPECT_NE(refusal("nemotron", d).find("output matrix"), std::string::npos);
  d = some_dims();
  d.head_dim = 48;
  for (const char* family : {"phi3", "nemotron"})
    EXPECT_NE(refusal(family, d).find("heads x head_dim"), std::string::npos) << family;
  d = some_dims();
  for (LayerDims& l : d.layers) l.local = true;
  d.window = 2047;
  EXPECT_NE(refusal("phi3", d).find("max_position_embeddings"), std::string::npos);
  d.positions = 2047;
  EXPECT_EQ(refusal("phi3", d), "");
}

// A window that no text of the context leaves is none, also where the file's architecture has none.
TEST(GgufDims, WindowsThatSeeTheWholeContext) {
  ModelDims d = some_dims();
  for (LayerDims& l : d.layers) l.local = true;
  for (const char* family : {"mistral", "qwen2", "qwen3", "smollm3", "phi3"}) {
    d.window = d.positions - 1;
    EXPECT_NE(refusal(family, d).find("max_position_embeddings"), std::string::npos) << family;
    for (const std::int64_t more : {0, 1}) {
      d.window = d.positions + more;
      EXPECT_EQ(refusal(family, d), "") << family;
    }
  }
  EXPECT_EQ(gguf_family_for(*arch_by_name("mistral"), d).name, "llama");
}

// Layers of unequal size leave as deci where its readers compute the same, with the blocks they
// need filled.
TEST(GgufDims, UnequalLayers) {
  ModelDims d = some_dims();
  const LayerDims whole = d.layers.front();
  for (const char* family : {"llama", "mistral", "qwen2"})
    EXPECT_NE(gguf_family_for(*arch_by_name(family), d).gguf, "deci") << family;
  d.layers[1][Axis::ffn] = 96;
  for (const char* family : {"llama", "mistral", "qwen2", "deci"})
    EXPECT_EQ(gguf_family_for(*arch_by_name(family), d).gguf, "deci") << family;
  for (const char* family : {"qwen3", "gemma2", "gemma3", "phi3", "nemotron", "gpt2"})
    EXPECT_THROW(gguf_family_for(*arch_by_name(family), d), core::Error) << family;
  const Arch &deci = *arch_by_name("deci"), &openelm = *arch_by_name("openelm");
  EXPECT_EQ(gguf_dims_for(deci, d), d);
  ModelDims odd = d;
  odd.layers[0].rope = false;
  EXPECT_THROW(gguf_family_for(*arch_by_name("llama"), odd), core::Error);

  d.layers = support::layer_list({{0, 0, 96}, {0, 0, 0}, {3, 3, 0}, {2, 1, 64}, {0, 0, 0}});
  d.head_dim = 48;
  EXPECT_EQ(gguf_dims_for(deci, d).layers,
            support::layer_list({{1, 16, 96}, {0, 0, 0}, {3, 3, 256}, {2, 1, 64}, {0, 0, 256}}));
  d.tied = true;
  EXPECT_THROW(gguf_family_for(openelm, d), core::Error);
  d.layers = {whole, support::layer_sizes(1, 4, 96)};
  EXPECT_EQ(&gguf_family_for(openelm, d), &openelm);
  d.tied = false;
  EXPECT_THROW(gguf_family_for(openelm, d), core::Error);
}

// What stock readers of deci would compute otherwise than it says is not read either.
TEST(GgufDims, DeciFilesThatReadersMistake) {
  support::TempDir dir;
  ModelDims d = some_dims();
  const Arch& deci = *arch_by_name("deci");
  d.layers = support::layer_list({{3, 3, 1536}, {0, 0, 0}, {0, 0, 96}});
  EXPECT_EQ(through_file(dir, d, {"output.weight"}, nullptr, deci).dims, d);
  const auto linear = [](format::GgufWriter& w) {
    w.set("deci.attention.head_count", format::GgufValue::i32s({9, 9, 0}));
  };
  EXPECT_THROW(through_file(dir, d, {"output.weight"}, linear, deci), core::Error);
  d.layers[1] = support::layer_sizes(3, 3, 0);
  EXPECT_THROW(through_file(dir, d, {"output.weight"}, nullptr, deci), core::Error);
}

TEST(GgufDims, OneNumberWhenLayersAgree) {
  support::TempDir dir;
  ModelDims d = some_dims();
  through_file(dir, d, {});
  const auto same = format::GgufHeader::read(core::FileReader(dir.file("d.gguf")));
  EXPECT_EQ(same.integer("llama.feed_forward_length"), 1536);
  EXPECT_EQ(same.integer("llama.attention.head_count"), 9);
  d.layers[0][Axis::ffn] = 1024;
  through_file(dir, d, {});
  const auto mixed = format::GgufHeader::read(core::FileReader(dir.file("d.gguf")));
  EXPECT_EQ(mixed.array("llama.feed_forward_length").numbers,
            (std::vector<double>{1024, 1536, 1536}));
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
  const GgufModel m =
      read_gguf_model(format::GgufHeader::read(core::FileReader(dir.file("d.gguf"))));
  EXPECT_EQ(m.dims.head_dim, 8);
  EXPECT_EQ(m.dims.layers, support::layer_list({{8, 1, 172}, {8, 1, 172}}));
  EXPECT_EQ(m.dims.vocab, 3);
  EXPECT_EQ(m.dims.rope_theta, 10000);
  EXPECT_EQ(m.dims.norm_eps, 1e-5);
  EXPECT_TRUE(m.dims.tied);
  EXPECT_FALSE(m.rope_factors);
}

}  // namespace
}  // namespace espalier::arch
