// SPDX-License-Identifier: Apache-2.0
// Predictions of a recipe's plan, and budgets that no choice of formats can keep.
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "model/device_memory.h"
#include "recipe/recipe.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::recipe {
namespace {

class PlanRecipe : public testing::Test {
 protected:
  nlohmann::ordered_json plan(const std::string& stages) {
    support::write_tiny_llama(
        dir.file("teacher"),
        {.hidden = 192, .kv_groups = 3, .q_per_kv = 4, .ffn = 512, .positions = 512});
    std::string text;  // of more than one window
    for (int i = 0; i < 2000; ++i) text += std::to_string(i) + " words\n";
    core::write_text_file(dir.file("text.txt"), text);
    return plan_again(stages);
  }
  // Without writing the model anew.
  nlohmann::ordered_json plan_again(const std::string& stages) {
    core::write_text_file(dir.file("r.yaml"),
                          "name: r\nteacher: teacher\ntext: {train: text.txt}\nstages:\n" + stages);
    return plan_recipe(dir.file("r.yaml"))["stages"];
  }
  support::TempDir dir;
};

TEST_F(PlanRecipe, NoLargerThanTakesTheOtherStagesBytes) {
  const auto stages = plan(
      "  - {name: small, kind: quantize, from: teacher, target_bytes: 600kB}\n"
      "  - {name: same, kind: quantize, from: teacher, no_larger_than: small}\n"
      "  - {name: plain, kind: quantize, from: teacher, format: q2_0}\n"
      "  - {name: like_plain, kind: quantize, from: teacher, no_larger_than: plain}\n");
  ASSERT_EQ(stages.size(), 4u);
  EXPECT_EQ(stages[0]["bytes"], 600000);
  EXPECT_EQ(stages[1]["bytes"], 600000);
  EXPECT_EQ(stages[3]["bytes"], stages[2]["bytes"]);
  EXPECT_EQ(stages[1]["parameters"], stages[2]["parameters"]);
}

TEST_F(PlanRecipe, ABudgetBelowEveryChoiceIsRefusedBeforeAnythingRuns) {
  for (const char* stage :
       {"  - {name: tiny, kind: quantize, from: teacher, target_bytes: 100kB}\n",
        "  - {name: tiny, kind: quantize, from: teacher, target_bytes: 400kB, candidates: [q5_0, "
        "q8_0]}\n"}) {
    try {
      plan(stage);
      ADD_FAILURE() << stage;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find("r.yaml:5:"), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("no choice of formats fits in"), std::string::npos)
          << e.what();
    }
  }
  EXPECT_EQ(plan("  - {name: small, kind: quantize, from: teacher, target_bytes: 400kB}\n").size(),
            1u);
}

TEST_F(PlanRecipe, AFileWithoutATokenizerMustBeAskedFor) {
  const std::string stage = "  - {name: q, kind: quantize, from: teacher, format: q8_0";
  plan(stage + "}\n");
  std::filesystem::remove(dir.file("teacher/tokenizer.json"));
  try {
    plan_recipe(dir.file("r.yaml"));
    ADD_FAILURE();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    for (const char* part : {"r.yaml:5:", "tekken.json", "no_tokenizer: true"})
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
  plan(stage + ", no_tokenizer: true}\n");
  std::filesystem::remove(dir.file("teacher/tokenizer.json"));
  EXPECT_EQ(plan_recipe(dir.file("r.yaml"))["stages"].size(), 1u);
}

// Which of layers that differ in size go is known after scoring; how wide they become is known
// before.
TEST_F(PlanRecipe, LayersOfUnequalSizeAreCutButNotDropped) {
  const auto plan_of = [&](const char* cut) {
    core::write_text_file(dir.file("u.yaml"),
                          std::string("name: u\nteacher: nowhere\nteacher_shape: ") +
                              ESPALIER_SOURCE_DIR + "/configs/dims/openelm-270m.json\n" +
                              "text: {train: text.txt}\nstages:\n  - {name: "
                              "less, kind: prune, from: teacher, " +
                              cut + ", criterion: weighted_rms}\n");
    return plan_recipe(dir.file("u.yaml"))["stages"][0]["parameters"].get<std::int64_t>();
  };
  EXPECT_LT(plan_of("ffn: 2048"), 271527168);
  EXPECT_LT(plan_of("kv_groups: 3"), 271527168);
  try {
    plan_of("layers: 12");
    ADD_FAILURE() << "planned";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("give a plan"), std::string::npos) << e.what();
  }
}

// Sizes of what is not computed yet are predicted, its memory is not.
TEST_F(PlanRecipe, ExpertsAreCountedTwice) {
  core::write_text_file(dir.file("e.yaml"),
                        std::string("name: e\nteacher: nowhere\nteacher_shape: ") +
                            ESPALIER_SOURCE_DIR + "/configs/dims/qwen3-30b-a3b.json\n" +
                            "text: {train: text.txt}\nstages:\n"
                            "  - {name: fewer, kind: prune, from: teacher, layers: 40}\n"
                            "  - {name: q, kind: quantize, from: teacher, format: q8_0}\n"
                            "  - {name: d, kind: distill, from: teacher, tokens: 1k}\n");
  const auto stages = plan_recipe(dir.file("e.yaml"))["stages"];
  ASSERT_EQ(stages.size(), 3u);
  constexpr std::int64_t kParameters = 30532122624, kActive = 3353032704, kLayers = 48;
  constexpr std::int64_t kEnds = 2 * 151936ll * 2048 + 2048;  // beside the layers
  for (std::size_t i = 0; i < 3; ++i) {
    const std::int64_t left = i == 0 ? 40 : kLayers;
    EXPECT_EQ(stages[i]["parameters"], kEnds + (kParameters - kEnds) / kLayers * left) << i;
    EXPECT_EQ(stages[i]["active_parameters"], kEnds + (kActive - kEnds) / kLayers * left) << i;
    EXPECT_TRUE(stages[i]["peak_memory_bytes"].is_null()) << i;
  }
  // Q8_0 has 34 bytes for 32 weights. Norms and routers stay F32.
  constexpr std::int64_t kNorms = 2048 + kLayers * (2 * 2048 + 2 * 128),
                         kRouters = kLayers * 128 * 2048, kFloats = kNorms + kRouters;
  EXPECT_EQ(stages[1]["bytes"], (kParameters - kFloats) / 32 * 34 + 4 * kFloats);
}

// The bytes that a step on the device `meta` asks for.
TEST_F(PlanRecipe, MemoryOfADeviceIsCounted) {
  const auto stages = plan(
      "  - {name: taught, kind: distill, from: teacher, tokens: 1k, sequence: 64, tokens_at_once: "
      "128, precision: float32}\n"
      "  - {name: alone, kind: distill, from: teacher, teacher: none, tokens: 1k, sequence: 64, "
      "tokens_at_once: 64, kl_weight: 0, precision: float32}\n"
      "  - {name: q, kind: quantize, from: alone, format: q8_0}\n");
  const auto teacher = checkpoint::Checkpoint::open(dir.file("teacher"));
  const model::ModelSize size{teacher.arch(), teacher.dims()};
  EXPECT_EQ(stages[0]["device_memory_bytes"], model::device_memory(size, size, {2, 64}).total());
  EXPECT_EQ(stages[1]["device_memory_bytes"],
            model::device_memory(size, std::nullopt, {1, 64}).total());
  EXPECT_GT(stages[1]["device_memory_bytes"].get<std::int64_t>(),
            16 * stages[1]["parameters"].get<std::int64_t>());
  EXPECT_FALSE(stages[2].contains("device_memory_bytes"));
}

// What one key would make of no effect, or nothing can do, is refused at its place.
TEST_F(PlanRecipe, KeysThatWouldHaveNoEffectAreRefused) {
  core::write_text_file(dir.file("plan.json"), "{\"keep_layers\": [1]}");
  plan("  - {name: it, kind: prune, ffn: 96}\n");
  const auto refused = [&](const std::string& stage, core::ErrorKind kind,
                           const std::vector<std::string>& parts) {
    try {
      plan_again("  - {name: it, " + stage + "}\n");
      ADD_FAILURE() << stage;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), kind) << e.what();
      for (const std::string& part : parts)
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << part << ": " << e.what();
      EXPECT_NE(std::string(e.what()).find("r.yaml:5:"), std::string::npos) << e.what();
    }
  };
  const auto input = core::ErrorKind::input, usage = core::ErrorKind::usage,
             unsupported = core::ErrorKind::unsupported;
  for (const std::string key : {"layers: 2", "hidden: 96", "ffn: 96", "kv_groups: 1", "q_per_kv: 1",
                                "parameters: 10k", "ffn_granule: 16", "hidden_granule: 16",
                                "criterion: obs", "layer_criterion: perplexity", "blocks: 2"})
    refused("kind: prune, plan: plan.json, " + key, input,
            {"'plan'", std::string("'").append(key, 0, key.find(':')).append("'")});
  refused("kind: prune, plan: plan.json, ridge: 0.1", input, {"ridge", "least_squares"});
  refused("kind: prune, hidden: 96, criterion: obs", usage, {"hidden 96", "obs", "activation"});
  refused("kind: prune, q_per_kv: 1", usage, {"q_per_kv 1", "plan"});
  refused("kind: prune, vocab: 200", usage, {"vocab 200", "at least"});
  refused("kind: prune, vocab: 400", usage, {"vocab 400", "only 320"});
  refused("kind: prune, vocab: 300, vocab_coverage: 0.9", input, {"vocab", "vocab_coverage"});
  refused("kind: prune, vocab: 300, criterion: obs", input, {"criterion", "vocabulary alone"});
  const std::string file = "kind: quantize, from: teacher, format: q8_0, ";
  refused(file + "candidates: [q4_0]", input, {"candidates", "format"});
  refused(file + "rounding: nearest, calibration_tokens: 1k", input,
          {"calibration_tokens", "nearest"});
  for (const std::string size : {"format: q8_0", "target_bytes: 1MB"}) {
    const std::string stage = "kind: quantize, from: teacher, " + size + ", tensors: ";
    refused(stage + "{attn_q.7: f16}", usage, {"attn_q.7", "0 to 1"});
    refused(stage + "{token_embd.0: f16}", usage, {"token_embd.0", "no layer"});
    refused(stage + "{attn_norm: q8_0}", unsupported, {"attn_norm", "f32"});
    refused(stage + "{token_emb: q8_0}", usage, {"token_emb", "did you mean \"token_embd\""});
    refused(stage + "{attn_q: q8_00}", input, {"q8_00", "'q8_0'"});
  }
  EXPECT_EQ(
      plan_again("  - {name: it, kind: prune, plan: plan.json, compensate: least_squares, ridge: "
                 "0.1, tokens: 1k}\n")
          .size(),
      1u);
  EXPECT_EQ(plan_again("  - {name: it, kind: prune, ffn: 96, q_per_kv: 4, vocab: 320}\n").size(),
            1u);
  EXPECT_EQ(plan_again("  - {name: it, kind: prune, plan: plan.json, vocab: 310}\n").size(), 1u);
}

}  // namespace
}  // namespace espalier::recipe
