// SPDX-License-Identifier: Apache-2.0
// Plans: sizes after, one after another, JSON form and its refusals, target sizes.
#include "plan/prune_plan.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "support/layer_sizes.h"
#include "support/tiny_model.h"

namespace espalier::plan {
namespace {

using Indices = std::vector<std::int64_t>;
using Json = nlohmann::ordered_json;

arch::ModelDims dims() { return support::tiny_dims({.layers = 4, .kv_groups = 3}); }

Selection random_selection(core::Rng& rng, std::int64_t size) {
  if (rng.below(4) == 0) return std::nullopt;
  Indices out;
  for (std::int64_t i = 0; i < size; ++i)
    if (rng.below(3) != 0) out.push_back(i);
  if (out.empty())
    out.push_back(static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(size))));
  return out;
}
PrunePlan random_plan(core::Rng& rng, const arch::ModelDims& before) {
  PrunePlan plan;
  plan.keep_layers =
      random_selection(rng, before.n_layers()).value_or(keep_all(before).keep_layers);
  for (const std::int64_t l : plan.keep_layers) {
    const arch::LayerDims& layer = before.layers[static_cast<std::size_t>(l)];
    LayerSelection& kept = plan.layers.emplace_back();
    for (const arch::Axis axis : {arch::Axis::kv_groups, arch::Axis::q_per_kv, arch::Axis::ffn})
      kept[axis] = random_selection(rng, layer[axis]);
  }
  plan.hidden = random_selection(rng, before.hidden);
  plan.vocab = random_selection(rng, before.vocab);
  return plan;
}
void expect_equal(const PrunePlan& a, const PrunePlan& b) {
  EXPECT_EQ(a.keep_layers, b.keep_layers);
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.vocab, b.vocab);
  EXPECT_EQ(a.source_sha256, b.source_sha256);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i], b.layers[i]);
  }
}

TEST(PrunePlan, KeepAllChangesNothing) {
  const PrunePlan plan = keep_all(dims());
  validate(plan, dims(), "plan");
  EXPECT_EQ(dims_after(plan, dims()), dims());
}

TEST(PrunePlan, JsonRoundTripsAndIsReadable) {
  core::Rng rng(5);
  for (int i = 0; i < 50; ++i) {
    PrunePlan plan = random_plan(rng, dims());
    plan.source_sha256 = "ab, cd";
    const std::string text = to_json(plan, support::llama(), dims());
    expect_equal(prune_plan_from_json(text, dims(), "plan.json"), plan);
    EXPECT_EQ(Json::parse(text).at("parameters_after"),
              arch::parameters(support::llama(), dims_after(plan, dims())));
  }
  PrunePlan plan = keep_all(dims());
  plan.layers[1][arch::Axis::ffn] = Indices{0, 1, 2, 3, 7, 8, 10};
  const std::string text = to_json(plan, support::llama(), dims());
  EXPECT_NE(text.find("\"ffn\": [\"0-3\", 7, 8, 10]"), std::string::npos) << text;
  EXPECT_NE(text.find("\"keep_layers\": [\"0-3\"]"), std::string::npos) << text;
  EXPECT_NE(text.find("\"hidden\": \"all\""), std::string::npos) << text;
}

TEST(PrunePlan, ShortFormsAreRead) {
  const PrunePlan plan = prune_plan_from_json(R"({"keep_layers": ["0-1", 3], "hidden": ["0-31"]})",
                                              dims(), "plan.json");
  EXPECT_EQ(plan.keep_layers, (Indices{0, 1, 3}));
  EXPECT_EQ(plan.layers.size(), 3u);
  EXPECT_EQ(dims_after(plan, dims()).hidden, 32);
  EXPECT_EQ(
      prune_plan_from_json(R"({"keep_layers": "all"})", dims(), "plan.json").keep_layers.size(),
      4u);
}

TEST(PrunePlan, RefusesBrokenJsonNamingThePlace) {
  const std::pair<const char*, const char*> broken[] = {
      {"", "not JSON"},
      {"[1]", "object"},
      {"{}", "keep_layers"},
      {R"({"keep_layers": []})", "keep_layers: nothing is kept"},
      {R"({"keep_layers": [4]})", "index 4 is out of range, there are 4"},
      {R"({"keep_layers": [-1]})", "index -1"},
      {R"({"keep_layers": [1, 0]})", "index 0 after 1"},
      {R"({"keep_layers": [1, 1]})", "index 1 after 1"},
      {R"({"keep_layers": ["2-1"]})", "\"2-1\""},
      {R"({"keep_layers": ["0-"]})", "\"0-\""},
      {R"({"keep_layers": ["0-1x"]})", "\"0-1x\""},
      {R"({"keep_layers": ["0-9223372036854775807"]})", "9223372036854775807"},
      {R"({"keep_layers": [18446744073709551615]})", "18446744073709551615"},
      {R"({"keep_layers": [1.5]})", "1.5"},
      {R"({"keep_layers": [0], "layers": []})", "one entry for each of the 1"},
      {R"({"keep_layers": [0], "layers": [3]})", "layers[0]"},
      {R"({"keep_layers": [0], "layers": [{"ffn": [96]}]})", "layers[0].ffn: index 96"},
      {R"({"keep_layers": [0], "layers": [{"q_per_kv": []}]})",
       "layer 0: q_per_kv: nothing is kept"},
      {R"({"keep_layers": [0], "layers": [{"kv_group": [0]}]})",
       "unknown key \"layers[0].kv_group\""},
      {R"({"keep_layers": [0], "layers": [{"kv_groups": "none"}]})", "layers[0].kv_groups"},
      {R"({"keep_layers": [0], "hidden": [64]})", "hidden: index 64"},
      {R"({"keep_layers": [0], "heads": []})", "unknown key \"heads\""},
      {R"({"keep_layers": [0], "source_sha256": 3})", "source_sha256"},
  };
  ASSERT_EQ(std::size(broken), 23u);
  const std::string deep =
      R"({"keep_layers": )" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_THROW(prune_plan_from_json(deep, dims(), "plan.json"), core::Error);
  for (const auto& [text, names] : broken) {
    try {
      prune_plan_from_json(text, dims(), "plan.json");
      ADD_FAILURE() << text << " was accepted";
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::input) << text;
      EXPECT_NE(std::string(error.what()).find(names), std::string::npos)
          << text << ": " << error.what();
      EXPECT_EQ(std::string(error.what()).find("plan.json:"), 0u) << error.what();
    }
  }
}

// SmolLM2-135M.
arch::ModelDims smol() {
  arch::ModelDims d;
  d.vocab = 49152;
  d.hidden = 576;
  d.head_dim = 64;
  d.layers.assign(30, support::layer_sizes(3, 3, 1536));
  d.tied = true;
  return d;
}

TEST(PruneTarget, SizesAsGiven) {
  const arch::ModelDims after =
      resolve({.layers = 25, .sizes = {{arch::Axis::ffn, 1024}}}, support::llama(), smol());
  EXPECT_EQ(after.n_layers(), 25);
  EXPECT_EQ(after.layers[0], support::layer_sizes(3, 3, 1024));
  // Embedding, final norm, and a layer: two norms, q and output, k and v, three FFN matrices.
  EXPECT_EQ(arch::parameters(support::llama(), after),
            49152 * 576 + 576 + 25 * (2 * 576 + 2 * 576 * 576 + 2 * 192 * 576 + 3 * 1024 * 576));
  EXPECT_EQ(resolve({}, support::llama(), smol()), smol());
  EXPECT_EQ(resolve({.hidden = 512,
                     .vocab = 40001,
                     .sizes = {{arch::Axis::kv_groups, 2}, {arch::Axis::q_per_kv, 1}}},
                    support::llama(), smol())
                .layers[7],
            support::layer_sizes(2, 1, 1536));
}

// As a prediction: which sizes it will be, scores say later.
TEST(PruneTarget, ParametersAreMetByFfnThenLayers) {
  const auto parameters = [](const arch::ModelDims& d) {
    return arch::parameters(support::llama(), d);
  };
  for (std::int64_t limit = 50'000'000; limit <= 140'000'000; limit += 4'999'999) {
    const arch::ModelDims after = resolve({.parameters = limit}, support::llama(), smol());
    EXPECT_LE(parameters(after), limit);
    EXPECT_EQ(after.layers[0][arch::Axis::ffn] % 32, 0);
    EXPECT_GE(after.layers[0][arch::Axis::ffn], 768);
    EXPECT_TRUE(after.uniform());
    // Neither one granule nor one layer more would fit.
    if (after.layers[0][arch::Axis::ffn] < 1536) {
      arch::ModelDims wider = after;
      for (arch::LayerDims& layer : wider.layers) layer[arch::Axis::ffn] += 32;
      EXPECT_GT(parameters(wider), limit);
    }
    if (after.n_layers() < 30) {
      arch::ModelDims deeper = after;
      deeper.layers.push_back(deeper.layers[0]);
      for (arch::LayerDims& layer : deeper.layers) layer[arch::Axis::ffn] = 768;
      EXPECT_GT(parameters(deeper), limit);
    }
  }
  EXPECT_EQ(resolve({.parameters = 134'515'008}, support::llama(), smol()), smol());
  EXPECT_EQ(resolve({.parameters = 94'700'000, .sizes = {{arch::Axis::ffn, 1024}}},
                    support::llama(), smol())
                .n_layers(),
            25);
  EXPECT_EQ(resolve({.layers = 25, .parameters = 94'700'000}, support::llama(), smol())
                .layers[0][arch::Axis::ffn],
            1024);
  // Below half of the ffn where nothing else is left.
  const arch::ModelDims thin =
      resolve({.layers = 30, .parameters = 60'000'000}, support::llama(), smol());
  EXPECT_LE(parameters(thin), 60'000'000);
  EXPECT_EQ(thin.n_layers(), 30);
  EXPECT_LT(thin.layers[0][arch::Axis::ffn], 768);
}

TEST(PruneTarget, RefusesWithAHint) {
  const auto refusal = [](const PruneTarget& target, core::ErrorKind kind) -> std::string {
    try {
      resolve(target, support::llama(), smol());
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    return "accepted";
  };
  EXPECT_NE(refusal({.sizes = {{arch::Axis::ffn, 1000}}}, core::ErrorKind::unsupported)
                .find("use 992 or 1024"),
            std::string::npos);
  EXPECT_NE(
      refusal({.sizes = {{arch::Axis::ffn, 20}}}, core::ErrorKind::unsupported).find("use 32"),
      std::string::npos);
  EXPECT_NE(refusal({.hidden = 500}, core::ErrorKind::unsupported).find("use 480 or 512"),
            std::string::npos);
  EXPECT_NE(refusal({.sizes = {{arch::Axis::ffn, 2048}}}, core::ErrorKind::usage).find("only 1536"),
            std::string::npos);
  EXPECT_NE(refusal({.layers = 31}, core::ErrorKind::usage).find("only 30"), std::string::npos);
  EXPECT_NE(refusal({.layers = 0}, core::ErrorKind::usage).find("at least 1"), std::string::npos);
  EXPECT_NE(refusal({.sizes = {{arch::Axis::kv_groups, 4}}}, core::ErrorKind::usage)
                .find("--kv-groups 4"),
            std::string::npos);
  EXPECT_NE(
      refusal({.parameters = 20'000'000}, core::ErrorKind::unsupported).find("the smallest is"),
      std::string::npos);
  EXPECT_NE(refusal({.layers = 30, .parameters = 100'000'000, .sizes = {{arch::Axis::ffn, 1536}}},
                    core::ErrorKind::unsupported)
                .find("the smallest is"),
            std::string::npos);
  const std::string granule =
      refusal({.parameters = 100'000'000, .ffn_granule = 2048}, core::ErrorKind::usage);
  EXPECT_NE(granule.find("--ffn-granule 2048: the source's ffn is 1536"), std::string::npos)
      << granule;
  arch::ModelDims unequal = smol();
  unequal.layers[3][arch::Axis::ffn] = 512;
  EXPECT_THROW(resolve({.layers = 30, .parameters = 30'000'000}, support::llama(), unequal),
               core::Error);
}

TEST(PruneTarget, LayersThatHaveLessKeepIt) {
  arch::ModelDims unequal = smol();
  unequal.layers[3][arch::Axis::ffn] = 512;
  unequal.layers[7] = {};
  unequal.layers[9][arch::Axis::kv_groups] = 1;
  const arch::ModelDims after = resolve(
      {.sizes = {{arch::Axis::ffn, 1024}, {arch::Axis::kv_groups, 2}}}, support::llama(), unequal);
  EXPECT_EQ(after.layers[0], support::layer_sizes(2, 3, 1024));
  EXPECT_EQ(after.layers[3], support::layer_sizes(2, 3, 512));
  EXPECT_EQ(after.layers[7], arch::LayerDims{});
  EXPECT_EQ(after.layers[9], support::layer_sizes(1, 3, 1024));
  EXPECT_EQ(
      smaller_layers({.sizes = {{arch::Axis::ffn, 1024}, {arch::Axis::kv_groups, 2}}}, unequal),
      (std::vector<std::string>{"ffn 1024: layers 3 have less and keep all of it",
                                "kv_groups 2: layers 9 have less and keep all of it"}));
  EXPECT_TRUE(
      smaller_layers({.sizes = {{arch::Axis::ffn, 1024}, {arch::Axis::kv_groups, 2}}}, smol())
          .empty());
  const arch::ModelDims fewer =
      resolve({.layers = 5, .sizes = {{arch::Axis::ffn, 1024}}}, support::llama(), unequal);
  EXPECT_EQ(fewer.n_layers(), 5);
  EXPECT_EQ(resolve_layers({.layers = 5, .sizes = {{arch::Axis::ffn, 1024}}}, support::llama(),
                           unequal, fewer)
                .size(),
            30u);
  EXPECT_EQ(resolve_layers({.layers = 5, .sizes = {{arch::Axis::ffn, 1024}}}, support::llama(),
                           unequal, fewer)[29][arch::Axis::ffn],
            1024);
  const arch::ModelDims limited = resolve({.parameters = 110'000'000}, support::llama(), unequal);
  EXPECT_LE(arch::parameters(support::llama(), limited), 110'000'000);
  EXPECT_EQ(limited.layers[3][arch::Axis::ffn], 512);
  const arch::ModelDims few = resolve({.parameters = 60'000'000}, support::llama(), unequal);
  EXPECT_LE(arch::parameters(support::llama(), few), 60'000'000);
}

}  // namespace
}  // namespace espalier::plan
