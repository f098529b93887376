// SPDX-License-Identifier: Apache-2.0
// A model against itself diverges by nothing, on both engines; against a damaged one it does (wrong
// RoPE base, shuffled q rows, a zeroed MLP); the legs pass on a good file; gates decide.
#include "verify/verify.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "export/export_gguf.h"
#include "support/edit_tensors.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"
#include "verify/gates.h"
#include "verify/parity.h"

namespace espalier::verify {
namespace {

struct Fixture {
  support::TempDir dir;
  support::TinyOptions options{
      .hidden = 64, .layers = 3, .kv_groups = 2, .q_per_kv = 3, .head_dim = 16, .ffn = 96};
  std::string directory = support::write_tiny_llama(dir.file("model"), options),
              gguf = support::write_tiny_llama_gguf(dir.file("model.gguf"), options);
  std::string text = dir.file("text.txt");
  Fixture() {
    std::string words;
    for (int i = 0; i < 400; ++i)
      words += "some words " + std::to_string(i * 37 % 101) + (i % 7 ? ", " : ".\n");
    core::write_text_file(text, words);
  }
  EvalResult eval(const std::string& model, const std::string& against,
                  Engine engine = Engine::training) const {
    return evaluate(model, against, text,
                    {.context = 64,
                     .protocol = runtime::Protocol::windows,
                     .max_windows = 6,
                     .engine = engine,
                     .threads = 2},
                    {});
  }
};

TEST(Evaluate, AModelAgainstItself) {
  Fixture f;
  for (const auto& [model, engine] :
       {std::pair(f.directory, Engine::training), std::pair(f.gguf, Engine::training),
        std::pair(f.gguf, Engine::device)}) {
    const EvalResult r = f.eval(model, f.directory, engine);
    EXPECT_EQ(r.tokens, 6 * 63);
    EXPECT_NEAR(r.perplexity, r.against_perplexity, 1e-3 * r.perplexity);
    EXPECT_LT(r.kl_mean, 1e-5);
    EXPECT_GT(r.same_top1, 0.99);
  }
}

TEST(Evaluate, DamagedModelsAreSeen) {
  Fixture f;
  support::TinyOptions other = f.options;
  other.rope_theta = 500;
  const std::string wrong_rope = support::write_tiny_llama(f.dir.file("rope"), other);
  EXPECT_GT(f.eval(wrong_rope, f.directory).kl_mean, 1e-3);
  for (const arch::Role role : {arch::Role::attn_q, arch::Role::ffn_down}) {
    const auto source = checkpoint::Checkpoint::open(f.directory);
    const std::string damaged = f.dir.file(std::string(arch::role_name(role)));
    checkpoint::CheckpointWriter writer(damaged, source.arch(), source.dims(), {},
                                        source.hf_config(), &source.tokenizer());
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
      std::vector<float> w = source.read(t.spec->role, t.layer);
      if (t.spec->role == role && t.layer == 1) {
        if (role == arch::Role::ffn_down) std::fill(w.begin(), w.end(), 0.0f);
        if (role == arch::Role::attn_q) std::rotate(w.begin(), w.begin() + t.cols * 5, w.end());
      }
      writer.write_rows(t.spec->role, t.layer, w);
    }
    writer.finish();
    EXPECT_GT(f.eval(damaged, f.directory).kl_mean, 1e-3) << arch::role_name(role);
  }
}

// Finite weights whose products are not.
std::string overflowing(const Fixture& f, const std::string& name) {
  const std::string path = support::write_tiny_llama(f.dir.file(name), f.options);
  support::edit_tensors(path, [](support::RawTensors& all) {
    for (const char* tensor :
         {"model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"})
      for (int i = 0; i < 96 * 64; ++i) all.at(tensor).set(i, i % 2 == 0 ? 1e30f : -2e30f);
  });
  return path;
}

TEST(Evaluate, WhatIsNotFiniteIsNoResult) {
  Fixture f;
  const auto expect_refused = [&](const std::string& model, const std::string& against,
                                  const std::string& words) {
    try {
      f.eval(model, against);
      ADD_FAILURE() << "a result instead of: " << words;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::input);
      EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
    }
  };
  const std::string nan = support::set_value(
      support::write_tiny_llama(f.dir.file("nan"), f.options), "model.layers.1.mlp.up_proj.weight",
      3 * 64 + 5, std::numeric_limits<float>::quiet_NaN());
  const std::string place =
      nan + "/model.safetensors: tensor model.layers.1.mlp.up_proj.weight[3, 5]";
  expect_refused(nan, "", place);
  expect_refused(f.directory, nan, place);
  expect_refused(overflowing(f, "large"), "", "layer 1: what the FFN computes is not finite");
  // The output matrix alone.
  const std::string output = support::write_tiny_llama(f.dir.file("output"), f.options);
  support::edit_tensors(output, [](support::RawTensors& all) {
    all["lm_head.weight"] = all.at("model.embed_tokens.weight");
    for (int i = 0; i < 320 * 64; ++i) all["lm_head.weight"].set(i, i % 2 == 0 ? 3e38f : -3e38f);
  });
  expect_refused(output, "", output + ": the logits are not finite");
}

TEST(Evaluate, DifferentVocabulariesAreRefused) {
  Fixture f;
  support::TinyOptions other = f.options;
  other.vocab = 330;
  EXPECT_THROW(f.eval(support::write_tiny_llama(f.dir.file("other"), other), f.directory),
               core::Error);
}

TEST(ParityTest, LegsPassOnAGoodFile) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  for (const char* mix : {"f32", "q8_0", "q4_0", "q5_1"}) {
    const std::string file = f.dir.file(std::string(mix) + ".gguf");
    exporter::export_gguf(source, plan::quant_plan(source.arch(), source.dims(), mix), file, {},
                          {});
    const Parity p = parity(file, core::read_text_file(f.text), 48, 2);
    EXPECT_TRUE(p.passed()) << mix << " A " << p.leg_a << " B " << p.leg_b << " ("
                            << p.leg_b_tolerance << ")";
    EXPECT_EQ(p.tokens, 48);
  }
}

TEST(Gates, MaxMinMissingAndUnknown) {
  const nlohmann::ordered_json card{{"perplexity", 10.0}, {"same_top1", 0.8}};
  bool passed = true;
  check_gates({{"perplexity_max", 11}, {"same_top1_min", 0.7}}, card, passed);
  EXPECT_TRUE(passed);
  check_gates({{"perplexity_max", 9}}, card, passed);
  EXPECT_FALSE(passed);
  passed = true;
  check_gates({{"kl_mean_max", 9}}, card, passed);  // the card has no such number: that is no pass
  EXPECT_FALSE(passed);
  EXPECT_THROW(check_gates({{"perplexity_most", 9}}, card, passed), core::Error);
  for (const nlohmann::json& nothing : {nlohmann::json(nullptr), nlohmann::json("9")}) {
    try {
      check_gates({{"perplexity_max", nothing}}, card, passed);
      ADD_FAILURE() << nothing;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::input);
      EXPECT_NE(std::string(e.what()).find("perplexity_max"), std::string::npos) << e.what();
    }
  }
}

TEST(Gates, NoneIsNoPassAndParityIsStatedApart) {
  Fixture f;
  const auto verdict_of = [&](const nlohmann::json& gates) {
    VerifyOptions options;
    options.teacher = f.directory;
    options.text_path = f.text;
    options.context = 64;
    options.max_windows = 1;
    options.threads = 2;
    options.with_speed = false;
    options.gates = gates;
    return verify(f.gguf, options, {});
  };
  const VerifyResult none = verdict_of({});
  EXPECT_EQ(none.card["verdict"].dump(), R"({"gates":"none","parity":"passed"})");
  EXPECT_TRUE(none.card["gates"].is_array() && none.card["gates"].empty());
  EXPECT_EQ(none.card["passed"], true);
  EXPECT_EQ(none.failures(), "");
  EXPECT_NE(readable_card(none.card).find("parity passed; no gates set"), std::string::npos);
  EXPECT_EQ(readable_card(none.card).find("gates passed"), std::string::npos);
  const VerifyResult good = verdict_of({{"perplexity_ratio_max", 2}});
  EXPECT_EQ(good.card["verdict"]["gates"], "passed");
  EXPECT_NE(readable_card(good.card).find("all gates passed"), std::string::npos);
  const VerifyResult bad = verdict_of({{"perplexity_ratio_max", 2}, {"file_bytes_max", 1}});
  EXPECT_EQ(bad.card["verdict"].dump(), R"({"gates":"failed","parity":"passed"})");
  EXPECT_EQ(bad.failures(), "1 of 2 gates failed");
  EXPECT_EQ(bad.card["passed"], false);
  VerifyResult off = good;
  off.parity = false;
  EXPECT_FALSE(off.passed());
  EXPECT_EQ(off.failures(), "parity failed");
}

}  // namespace
}  // namespace espalier::verify
