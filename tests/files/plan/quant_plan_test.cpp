// SPDX-License-Identifier: Apache-2.0
// Mixes, overrides, refusals, JSON, and the allocation of formats against brute force.
#include "plan/quant_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/rng.h"
#include "support/layer_sizes.h"
#include "support/refusal.h"

namespace espalier::plan {
namespace {

using arch::Role;
using format::FormatId;
using support::refusal;

const arch::Arch& llama() { return *arch::arch_by_gguf_name("llama"); }

arch::ModelDims dims(std::int64_t hidden, std::int64_t ffn, std::int64_t layers, bool tied = true) {
  arch::ModelDims d;
  d.vocab = 96;
  d.hidden = hidden;
  d.head_dim = 64;
  d.positions = 128;
  d.tied = tied;
  d.layers.assign(static_cast<std::size_t>(layers), support::layer_sizes(2, hidden / 128, ffn));
  return d;
}

std::int64_t padded_bytes(const arch::ModelDims& d, const QuantPlan& plan) {
  std::int64_t n = 0;
  for (const arch::TensorRef& t : arch::tensors(llama(), d))
    n += (tensor_bytes(t, plan.format_of(t.spec->role, t.layer)) + 31) / 32 * 32;
  return n;
}

TEST(QuantPlan, AFormatNameIsAllMatrices) {
  const arch::ModelDims d = dims(128, 96, 3);
  const QuantPlan plan = quant_plan(llama(), d, "Q8_0");
  EXPECT_EQ(plan.name, "q8_0");
  int matrices = 0;
  for (const arch::TensorRef& t : arch::tensors(llama(), d)) {
    EXPECT_EQ(plan.format_of(t.spec->role, t.layer), t.is_vector ? FormatId::f32 : FormatId::q8_0);
    matrices += !t.is_vector;
  }
  EXPECT_EQ(matrices, 1 + 3 * 7);
  const std::int64_t parameters = arch::parameters(llama(), d), vectors = 128 * (2 * 3 + 1);
  EXPECT_EQ(tensor_data_bytes(llama(), d, plan), (parameters - vectors) / 32 * 34 + vectors * 4);
  EXPECT_GT(bits_per_weight(llama(), d, plan), 8.5);
  EXPECT_LT(bits_per_weight(llama(), d, plan), 9.0);
}

// The layers that llama-quantize gives more bits, worked out by hand for 30 layers: a third in
// between the first and last eighth.
TEST(QuantPlan, MediumMixPromotesTheSameLayersAsLlamaQuantize) {
  const arch::ModelDims d = dims(256, 256, 30);
  const std::set<int> more = {0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29};
  const QuantPlan plan = quant_plan(llama(), d, "q4_k_m");
  for (int l = 0; l < 30; ++l) {
    EXPECT_EQ(plan.format_of(Role::attn_v, l), more.count(l) ? FormatId::q6_k : FormatId::q4_k)
        << l;
    EXPECT_EQ(plan.format_of(Role::ffn_down, l), more.count(l) ? FormatId::q6_k : FormatId::q4_k)
        << l;
    EXPECT_EQ(plan.format_of(Role::ffn_up, l), FormatId::q4_k);
    EXPECT_EQ(plan.format_of(Role::attn_norm, l), FormatId::f32);
  }
  EXPECT_EQ(plan.format_of(Role::token_embd, -1), FormatId::q6_k);
}
TEST(QuantPlan, SmallMixPromotesTheFirstLayers) {
  const arch::ModelDims d = dims(256, 256, 30, false);
  const QuantPlan plan = quant_plan(llama(), d, "q4_k_s");
  for (int l = 0; l < 30; ++l) {
    EXPECT_EQ(plan.format_of(Role::attn_v, l), l < 4 ? FormatId::q5_k : FormatId::q4_k) << l;
    EXPECT_EQ(plan.format_of(Role::ffn_down, l), l < 3 ? FormatId::q5_k : FormatId::q4_k) << l;
  }
  EXPECT_EQ(plan.format_of(Role::token_embd, -1), FormatId::q4_k);
  EXPECT_EQ(plan.format_of(Role::output, -1), FormatId::q6_k);
}

TEST(QuantPlan, Q3KMPromotesEveryLayerAndTheFirstOnesMore) {
  const arch::ModelDims d = dims(256, 256, 32);
  const QuantPlan plan = quant_plan(llama(), d, "Q3_K_M");
  for (int l = 0; l < 32; ++l) {
    EXPECT_EQ(plan.format_of(Role::attn_v, l), l < 2 ? FormatId::q5_k : FormatId::q4_k) << l;
    EXPECT_EQ(plan.format_of(Role::ffn_down, l), l < 2 ? FormatId::q5_k : FormatId::q4_k) << l;
    EXPECT_EQ(plan.format_of(Role::attn_output, l), FormatId::q4_k);
    EXPECT_EQ(plan.format_of(Role::attn_q, l), FormatId::q3_k);
    EXPECT_EQ(plan.format_of(Role::ffn_up, l), FormatId::q3_k);
  }
  EXPECT_EQ(plan.format_of(Role::token_embd, -1), FormatId::q6_k);
}

TEST(QuantPlan, TablesOfPositionsStayF32) {
  arch::ModelDims d = dims(256, 256, 8);
  const arch::Arch& gpt2 = *arch::arch_by_name("gpt2");
  for (const char* mix : {"q2_k", "q3_k_m", "q4_k_m", "q4_k_s", "q5_k_m", "q6_k", "q8_0"})
    EXPECT_EQ(quant_plan(gpt2, d, mix).format_of(Role::pos_embd, -1), FormatId::f32) << mix;
  EXPECT_EQ(quant_plan(gpt2, d, "f16").format_of(Role::pos_embd, -1), FormatId::f16);
  EXPECT_EQ(
      quant_plan(gpt2, d, "q8_0", {{"pos_embd", FormatId::q8_0}}).format_of(Role::pos_embd, -1),
      FormatId::q8_0);  // asked for by name
}

TEST(QuantPlan, EveryMixNameIsAccepted) {
  const std::vector<std::string> names = mix_names();
  EXPECT_EQ(names.size(), format::all_formats().size() + 8);
  for (const std::string& name : names)
    EXPECT_EQ(quant_plan(llama(), dims(256, 512, 2), name).tensors.size(), 2u + 2 * 9) << name;
}

TEST(QuantPlan, RefusalListsEveryTensorAndTheNearestSizes) {
  const std::string text = refusal(
      [] { quant_plan(llama(), dims(384, 100, 3), "q4_k", {{"ffn_down.2", FormatId::q6_k}}); },
      core::ErrorKind::unsupported);
  EXPECT_NE(text.find("attn_q of layers 0-2: row length 384 is not a multiple of 256"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("nearest legal 256 and 512"), std::string::npos) << text;
  EXPECT_NE(text.find("ffn_down of layers 0-1: row length 100 is not a multiple of 256 (q4_k), "
                      "nearest legal 256\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("ffn_down of layer 2: row length 100 is not a multiple of 256 (q6_k)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("token_embd: row length 384"), std::string::npos) << text;
  EXPECT_EQ(text.find("norm"), std::string::npos) << text;
  const std::string small =
      refusal([] { quant_plan(llama(), dims(128, 100, 3), "q4_0"); }, core::ErrorKind::unsupported);
  EXPECT_NE(small.find("ffn_down of layers 0-2: row length 100 is not a multiple of 32 (q4_0), "
                       "nearest legal 96 and 128"),
            std::string::npos)
      << small;
  EXPECT_EQ(small.find("attn_q"), std::string::npos) << small;
}

TEST(QuantPlan, OverridesByRoleAndLayer) {
  const arch::ModelDims d = dims(128, 96, 4);
  const QuantPlan plan = quant_plan(llama(), d, "q4_0",
                                    {{"token_embd", FormatId::q8_0},
                                     {"ffn_down", FormatId::q5_0},
                                     {"ffn_down.2", FormatId::f16}});
  EXPECT_EQ(plan.format_of(Role::token_embd, -1), FormatId::q8_0);
  EXPECT_EQ(plan.format_of(Role::ffn_down, 1), FormatId::q5_0);
  EXPECT_EQ(plan.format_of(Role::ffn_down, 2), FormatId::f16);
  EXPECT_EQ(plan.format_of(Role::ffn_up, 2), FormatId::q4_0);
  EXPECT_NE(refusal([&] { quant_plan(llama(), d, "q4_0", {{"ffn_dwn", FormatId::q8_0}}); },
                    core::ErrorKind::usage)
                .find("ffn_down"),
            std::string::npos);
  EXPECT_NE(refusal([&] { quant_plan(llama(), d, "q4_0", {{"output", FormatId::q8_0}}); },
                    core::ErrorKind::usage)
                .find("tied"),
            std::string::npos);
  const std::pair<const char*, const char*> hints[] = {
      {"ffn_down.4", "its layers are 0 to 3"},
      {"ffn_down.-1", "its layers are 0 to 3"},
      {"ffn_dwn.2", "did you mean \"ffn_down.2\""},
      {"blk.2.ffn_down.weight", "did you mean \"ffn_down.2\""},
      {"token_embd.weight", "did you mean \"token_embd\""},
      {"token_embd.0", "it is in no layer: \"token_embd\""},
      {"token_embd.-1", "it is in no layer: \"token_embd\""},
  };
  for (const auto& [key, hint] : hints)
    EXPECT_NE(refusal([&] { check_overrides(llama(), d, {{key, FormatId::q8_0}}); },
                      core::ErrorKind::usage)
                  .find(hint),
              std::string::npos)
        << key;
  EXPECT_NO_THROW(check_overrides(llama(), d, {{"attn_norm", FormatId::f32}}));
  refusal([&] { quant_plan(llama(), d, "q4_0", {{"attn_norm", FormatId::q8_0}}); },
          core::ErrorKind::unsupported);
  EXPECT_NE(
      refusal([&] { quant_plan(llama(), d, "q4_k_n"); }, core::ErrorKind::usage).find("q4_k_m"),
      std::string::npos);
}

TEST(QuantPlan, JsonRoundTripsAndIsChecked) {
  const arch::ModelDims d = dims(128, 96, 2);
  const QuantPlan plan = quant_plan(llama(), d, "q5_0", {{"ffn_down.1", FormatId::q8_0}});
  const std::string text = to_json(plan);
  const QuantPlan back = quant_plan_from_json(text, llama(), d, "plan.json");
  EXPECT_EQ(to_json(back), text);
  EXPECT_EQ(back.format_of(Role::ffn_down, 1), FormatId::q8_0);
  const auto broken = [&](std::string from, std::string to) {
    std::string bad = text;
    const auto at = bad.find(from);
    EXPECT_NE(at, std::string::npos);
    bad.replace(at, from.size(), to);
    EXPECT_THROW(quant_plan_from_json(bad, llama(), d, "plan.json"), core::Error) << to;
  };
  broken("\"attn_q\"", "\"attn_z\"");
  broken("\"attn_q\"", "\"attn_k\"");
  broken("\"format\": \"q5_0\"", "\"format\": \"q5_9\"");
  broken("\"format\": \"q5_0\"", "\"format\": \"q5_k\"");
  broken("\"layer\": 0", "\"layer\": 7");
  broken("\"layer\": 0", "\"layer\": -1");
  broken("\"f32\"", "\"f16\"");
  broken("{", "[");
  broken("\"q5_0\"", std::string(100000, '[') + std::string(100000, ']'));
  EXPECT_THROW(quant_plan_from_json(text, llama(), dims(128, 96, 3), "plan.json"), core::Error);
  EXPECT_THROW(quant_plan_from_json(text, llama(), dims(128, 96, 1), "plan.json"), core::Error);
}

std::vector<FormatChoice> random_choices(const arch::ModelDims& d, std::uint64_t seed,
                                         const std::vector<FormatId>& formats) {
  core::Rng rng(seed);
  std::vector<FormatChoice> choices;
  for (const arch::TensorRef& t : arch::tensors(llama(), d)) {
    if (t.is_vector) continue;
    FormatChoice c{t.spec->role, t.layer, formats, {}};
    const double sensitivity = std::exp(2 * rng.normal());
    for (const FormatId f : formats)
      c.error.push_back(sensitivity * std::pow(4.0, -format::info(f).bits_per_weight()) *
                        (0.5 + rng.uniform()));
    choices.push_back(std::move(c));
  }
  return choices;
}
double total_error(const std::vector<FormatChoice>& choices, const QuantPlan& plan) {
  double sum = 0;
  for (const FormatChoice& c : choices)
    for (std::size_t i = 0; i < c.formats.size(); ++i)
      if (c.formats[i] == plan.format_of(c.role, c.layer)) sum += c.error[i];
  return sum;
}

TEST(Allocate, EqualsBruteForceOnSmallModels) {
  const arch::ModelDims d = dims(128, 96, 1);
  const std::vector<FormatId> formats = {FormatId::q4_0, FormatId::q5_1, FormatId::q8_0};
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const std::vector<FormatChoice> choices = random_choices(d, seed, formats);
    ASSERT_EQ(choices.size(), 8u);
    const std::int64_t low = padded_bytes(d, quant_plan(llama(), d, "q4_0")),
                       high = padded_bytes(d, quant_plan(llama(), d, "q8_0"));
    for (const double part : {0.0, 0.13, 0.4, 0.77}) {
      const auto budget = low + static_cast<std::int64_t>(part * static_cast<double>(high - low));
      double best = 1e300;
      QuantPlan plan = quant_plan(llama(), d, "q4_0");
      for (int code = 0; code < 6561; ++code) {
        int rest = code;
        for (TensorFormat& t : plan.tensors) {
          if (arch::tensor_ref(llama(), d, t.role, t.layer).is_vector) continue;
          t.format = formats[static_cast<std::size_t>(rest % 3)];
          rest /= 3;
        }
        if (padded_bytes(d, plan) <= budget) best = std::min(best, total_error(choices, plan));
      }
      const QuantPlan found = allocate(llama(), d, choices, budget);
      EXPECT_LE(padded_bytes(d, found), budget);
      EXPECT_NEAR(total_error(choices, found), best, 1e-12 * best) << seed << " " << part;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 48);
}

TEST(Allocate, MonotoneInTheBudgetAndCloseToTheBound) {
  const arch::ModelDims d = dims(256, 480, 24);
  const std::vector<FormatId> formats = {FormatId::q4_0, FormatId::q4_1, FormatId::q5_0,
                                         FormatId::q5_1, FormatId::q8_0, FormatId::q4_k,
                                         FormatId::q6_k};
  const std::vector<FormatChoice> choices = random_choices(d, 3, formats);
  const std::int64_t low = padded_bytes(d, quant_plan(llama(), d, "q4_0")),
                     high = padded_bytes(d, quant_plan(llama(), d, "q8_0"));
  double before = 1e300;
  for (int i = 0; i <= 20; ++i) {
    const std::int64_t budget = low + (high - low) * i / 20;
    const QuantPlan plan = allocate(llama(), d, choices, budget);
    const std::int64_t bytes = padded_bytes(d, plan);
    EXPECT_LE(bytes, budget);
    const double error = total_error(choices, plan);
    EXPECT_LE(error, before * (1 + 1e-12)) << budget;
    if (i > 0 && i < 19) {
      EXPECT_GT(static_cast<double>(bytes), 0.995 * static_cast<double>(budget));
    }
    before = error;
  }
}

TEST(Allocate, TooSmallABudgetNamesTheSmallest) {
  const arch::ModelDims d = dims(128, 96, 2);
  const std::vector<FormatChoice> choices = random_choices(d, 1, {FormatId::q4_0, FormatId::q8_0});
  const std::int64_t low = padded_bytes(d, quant_plan(llama(), d, "q4_0"));
  const std::string text =
      refusal([&] { allocate(llama(), d, choices, low - 1); }, core::ErrorKind::unsupported);
  EXPECT_NE(text.find(std::to_string(low)), std::string::npos) << text;
  EXPECT_EQ(padded_bytes(d, allocate(llama(), d, choices, low)), low);
}

TEST(Allocate, LeavesOutFormatsThatDoNotFit) {
  const arch::ModelDims d = dims(128, 256, 1);  // only ffn_down has rows of 256
  const std::vector<FormatChoice> choices = random_choices(d, 1, {FormatId::q4_k, FormatId::q8_0});
  const QuantPlan plan = allocate(llama(), d, choices, std::int64_t{1} << 30);
  EXPECT_EQ(plan.format_of(Role::attn_q, 0), FormatId::q8_0);
  EXPECT_THROW(allocate(llama(), d, random_choices(d, 1, {FormatId::q4_k}), std::int64_t{1} << 30),
               core::Error);
}

}  // namespace
}  // namespace espalier::plan
