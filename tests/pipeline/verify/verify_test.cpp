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

TEST(Evaluate, WindowsAddUpToTheWhole) {
  const Fixture f;
  const EvalResult r = f.eval(f.directory, f.gguf);
  ASSERT_EQ(r.windows.size(), 6);
  WindowLoss sum;
  for (const WindowLoss& w : r.windows) {
    EXPECT_EQ(w.tokens, 63);
    sum.tokens += w.tokens;
    sum.same_top1 += w.same_top1;
    sum.nll += w.nll;
    sum.kl += w.kl;
  }
  const auto n = static_cast<double>(r.tokens);
  EXPECT_EQ(sum.tokens, r.tokens);
  EXPECT_NEAR(std::exp(sum.nll / n), r.perplexity, 1e-12 * r.perplexity);
  EXPECT_NEAR(sum.kl / n, r.kl_mean, 1e-12);
  EXPECT_DOUBLE_EQ(static_cast<double>(sum.same_top1) / n, r.same_top1);
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
                                        {source.hf_config(), &source.tokenizer()});
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
  // Also in a row of the embedding that the text never reads.
  support::TinyOptions untied = f.options;
  untied.tied = false;
  const std::string unread = support::set_value(
      support::write_tiny_llama(f.dir.file("unread"), untied), "model.embed_tokens.weight",
      2 * 64 + 3, std::numeric_limits<float>::quiet_NaN());
  expect_refused(unread, "", unread + "/model.safetensors: tensor model.embed_tokens.weight[2, 3]");
  expect_refused(overflowing(f, "large"), "", "layer 1: what the FFN computes is not finite");
  // The output matrix alone.
  const std::string output = support::write_tiny_llama(f.dir.file("output"), f.options);
  support::edit_tensors(output, [](support::RawTensors& all) {
    all["lm_head.weight"] = all.at("model.embed_tokens.weight");
    for (int i = 0; i < 320 * 64; ++i) all["lm_head.weight"].set(i, i % 2 == 0 ? 3e38f : -3e38f);
  });
  expect_refused(output, "", output + ": the logits are not finite");
}

// The windows that go through a model together, and where its output matrix lies, are a matter of
// memory alone.
TEST(Evaluate, ChunksChangeNoBitAndBlocksOnlyRounding) {
  Fixture f;
  support::TinyOptions other = f.options;
  other.seed = 2;
  const std::string reference = support::write_tiny_llama(f.dir.file("reference"), other);
  const auto measure = [&](Engine engine, const MemoryBudget& memory, std::int64_t& steps) {
    steps = 0;
    EvalOptions options{.context = 64, .engine = engine, .threads = 2, .memory = memory};
    return evaluate(engine == Engine::device ? f.gguf : f.directory, reference, f.text, options,
                    [&](const core::ProgressEvent& e) {
                      steps += e.detail.find(reference + ": layer 1 of 3") != std::string::npos;
                    });
  };
  for (const Engine engine : {Engine::training, Engine::device}) {
    std::int64_t steps = 0;
    const EvalResult whole = measure(engine, {}, steps);
    EXPECT_EQ(steps, 1);  // all windows in one chunk
    const EvalResult small = measure(engine, {.buffer_bytes = 2 * 2 * 64 * 64 * 4}, steps);
    EXPECT_GT(steps, 10);
    EXPECT_EQ(small.perplexity, whole.perplexity);
    EXPECT_EQ(small.against_perplexity, whole.against_perplexity);
    EXPECT_EQ(small.kl_per_token, whole.kl_per_token);
    const EvalResult loaded = measure(engine, {.device_whole = false}, steps);
    EXPECT_EQ(loaded.kl_per_token, whole.kl_per_token);
    const EvalResult blocks = measure(engine, {.output_bytes = 0}, steps);
    EXPECT_NEAR(blocks.perplexity / whole.perplexity, 1, 1e-6);
    EXPECT_NEAR(blocks.kl_mean / whole.kl_mean, 1, 1e-4);
  }
}

TEST(Evaluate, TheBudgetFollowsTheLimit) {
  arch::ModelDims dims = support::tiny_dims({});
  dims.vocab = 128256;
  dims.hidden = 4096;
  const ModelSize model{.arch = &support::llama(), .dims = dims};
  const std::vector<ModelSize> pair{model, model};
  EXPECT_EQ(budget_within(0, pair, 512, 0).buffer_bytes, std::int64_t{512} << 20);
  EXPECT_FALSE(keeps_output(dims, {}));  // 2.1 GB
  const std::int64_t one = peak_memory(pair, 512, 1, 0, {});
  // Just enough for one window of each; and for eight.
  EXPECT_EQ(chunk_windows(pair, 512, budget_within(one, pair, 512, 0)), 1);
  const std::int64_t states = 2 * 512 * 4096 * 4;
  EXPECT_EQ(chunk_windows(pair, 512, budget_within(one + 7 * states, pair, 512, 0)), 8);
  try {
    budget_within(one - 1, pair, 512, 0);
    ADD_FAILURE() << "within less than it needs";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("--max-ram"), std::string::npos) << e.what();
  }
  // An output matrix stays in memory while there is room for it.
  dims.vocab = 32768;
  const std::vector<ModelSize> small{{.arch = &support::llama(), .dims = dims}};
  const std::int64_t kept = peak_memory(small, 512, 1, 0, {});
  EXPECT_TRUE(keeps_output(dims, budget_within(kept, small, 512, 0)));
  EXPECT_FALSE(keeps_output(dims, budget_within(kept - 1, small, 512, 0)));
  // So do the weights of the device engine.
  dims.layers.assign(64, dims.layers.front());
  for (arch::LayerDims& l : dims.layers) l[arch::Axis::ffn] = 11008;
  const std::vector<ModelSize> device{{.arch = &support::llama(),
                                       .dims = dims,
                                       .engine = Engine::device,
                                       .file_bytes = std::int64_t{64} << 30}};
  const std::int64_t all = peak_memory(device, 512, 1, 0, {.output_bytes = 0});
  EXPECT_GT(all, std::int64_t{64} << 30);
  EXPECT_TRUE(budget_within(all, device, 512, 0).device_whole);
  EXPECT_FALSE(budget_within(all - 1, device, 512, 0).device_whole);
}

TEST(Evaluate, DifferentVocabulariesAreRefused) {
  Fixture f;
  support::TinyOptions other = f.options;
  other.vocab = 330;
  EXPECT_THROW(f.eval(support::write_tiny_llama(f.dir.file("other"), other), f.directory),
               core::Error);
}

// The reference may have more tokens: it is read over those of the model.
TEST(Evaluate, AReferenceOfMoreTokens) {
  Fixture f;
  support::TinyOptions more = f.options;
  more.vocab = 400;  // the first of them are those of the model, with the same weights
  const std::string reference = support::write_tiny_llama(f.dir.file("more"), more);
  const EvalResult r = f.eval(f.directory, reference), itself = f.eval(f.directory, f.directory);
  EXPECT_EQ(r.kl_mean, itself.kl_mean);
  EXPECT_EQ(r.against_perplexity, itself.against_perplexity);
  EXPECT_EQ(r.same_top1, 1);
}

TEST(ParityTest, LegsPassOnAGoodFile) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  for (const char* mix : {"f32", "q8_0", "q4_0", "q5_1"}) {
    const std::string file = f.dir.file(std::string(mix) + ".gguf");
    exporter::export_gguf(source, plan::quant_plan(source.arch(), source.dims(), mix), file, {},
                          {});
    const Parity p = parity(file, text::read_documents(f.text), 48, 2, {});
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
