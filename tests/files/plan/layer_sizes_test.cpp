// SPDX-License-Identifier: Apache-2.0
// Sizes within a total: against every combination of sizes on small models, against every equal
// size, in which families, and what is refused.
#include "plan/layer_sizes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "core/rng.h"
#include "plan/knapsack.h"
#include "support/computed.h"
#include "support/cuts.h"
#include "support/layer_sizes.h"
#include "support/tiny_model.h"

namespace espalier::plan {
namespace {

using arch::Axis;
using arch::LayerDims;

const std::set<Axis> kBoth{Axis::ffn, Axis::kv_groups};

// Curves as random as they may be: they fall, and blocks differ widely.
std::vector<BlockCurve> random_curves(const arch::ModelDims& dims, std::uint64_t seed) {
  core::Rng rng(seed);
  const auto uniform = [&] { return static_cast<double>(rng.below(1'000'000) + 1) / 1e6; };
  std::vector<BlockCurve> out;
  for (std::size_t l = 0; l < dims.layers.size(); ++l)
    for (const Axis axis : {Axis::kv_groups, Axis::ffn}) {
      const auto n = static_cast<std::size_t>(dims.layers[l][axis]);
      BlockCurve& c = out.emplace_back();
      c.layer = l;
      c.axis = axis;
      c.drop = std::exp(4 * uniform() - 2);
      std::vector<double> parts(n);
      for (double& part : parts) part = std::pow(uniform(), 4);
      std::sort(parts.rbegin(), parts.rend());
      c.left.assign(n + 1, 0.0);
      for (std::size_t s = n; s-- > 0;) c.left[s] = c.left[s + 1] + parts[s];
      const double all = c.left.front();
      for (double& v : c.left) v /= all;
      for (std::size_t i = n; i-- > 0;) c.order.push_back(static_cast<std::int64_t>(i));
    }
  return out;
}

double expected(const std::vector<BlockCurve>& curves, const std::vector<LayerDims>& layers) {
  double sum = 0;
  for (const BlockCurve& c : curves)
    sum += c.drop * c.left.at(static_cast<std::size_t>(layers[c.layer][c.axis]));
  return sum;
}
std::int64_t parameters_with(arch::ModelDims dims, const std::vector<LayerDims>& layers) {
  dims.layers.clear();
  for (const LayerDims& l : layers)
    if (l[Axis::ffn] > 0 || l[Axis::kv_groups] > 0) dims.layers.push_back(l);
  return dims.layers.empty() ? 0 : arch::parameters(support::llama(), dims);
}

// Calls `see` with every combination of sizes.
void every(const arch::ModelDims& dims, const std::vector<std::int64_t>& widths,
           const std::function<void(const std::vector<LayerDims>&)>& see) {
  std::vector<LayerDims> layers = dims.layers;
  const std::function<void(std::size_t)> go = [&](std::size_t l) {
    if (l == layers.size()) return see(layers);
    for (const std::int64_t ffn : widths)
      for (std::int64_t groups = 0; groups <= dims.layers[l][Axis::kv_groups]; ++groups) {
        layers[l] = support::layer_sizes(groups, groups > 0 ? 2 : 0, ffn);
        go(l + 1);
      }
  };
  go(0);
}

TEST(LayerSizes, AreThoseOfBruteForce) {
  const arch::ModelDims dims = support::tiny_dims({.layers = 3});
  const std::int64_t whole = arch::parameters(support::llama(), dims);
  const std::int64_t outside = parameters_with(dims, {support::layer_sizes(0, 0, 32)}) - 64 * 96;
  int better = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const std::vector<BlockCurve> curves = random_curves(dims, seed);
    const std::int64_t budget =
        outside + (whole - outside) * static_cast<std::int64_t>(3 + seed % 6) / 10;
    const auto question =
        size_question({.parameters = budget}, false, kBoth, support::llama(), dims);
    ASSERT_TRUE(question.has_value());
    EXPECT_TRUE(question->blocks && question->fewer_layers && !question->one_size);
    double least = std::numeric_limits<double>::infinity();
    every(dims, {0, 32, 64, 96}, [&](const std::vector<LayerDims>& layers) {
      const std::int64_t n = parameters_with(dims, layers);
      if (n > 0 && n <= budget) least = std::min(least, expected(curves, layers));
    });
    const std::vector<SizeChoice> choices = size_choices(*question, curves);
    const SizeChoice& best = choices.front();
    EXPECT_LE(parameters_with(dims, best.layers), budget);
    EXPECT_NEAR(best.loss, expected(curves, best.layers), 1e-9);
    EXPECT_NEAR(best.loss, least, 1e-9 * least) << seed;
    for (const SizeChoice& other : choices) {
      EXPECT_LE(parameters_with(dims, other.layers), budget) << other.name;
      EXPECT_GE(other.loss, best.loss - 1e-12) << other.name;
    }
    ASSERT_GE(choices.size(), 2u);
    better += choices.back().loss > 1.05 * best.loss;
  }
  EXPECT_GE(better, 9) << "equal sizes are worse where blocks differ";
}

// Of all equal sizes the best follow the unequal ones, and one has all layers.
TEST(LayerSizes, EqualOnesAreTheBestOfTheirKind) {
  const arch::ModelDims dims = support::tiny_dims({.layers = 4, .ffn = 160});
  const std::vector<BlockCurve> curves = random_curves(dims, 5);
  const std::int64_t budget = arch::parameters(support::llama(), dims) * 7 / 10;
  const auto question = size_question({.parameters = budget}, false, kBoth, support::llama(), dims);
  std::vector<double> losses;
  for (int gone = 0; gone < 4; ++gone)
    for (std::int64_t groups = 1; groups <= 2; ++groups)
      for (std::int64_t ffn = 32; ffn <= 160; ffn += 32) {
        std::vector<double> need(4, 0);
        for (const BlockCurve& c : curves) need[c.layer] += c.drop;
        std::vector<LayerDims> layers(4, support::layer_sizes(groups, 2, ffn));
        for (int i = 0; i < gone; ++i) {
          const auto least = std::min_element(need.begin(), need.end());
          layers[static_cast<std::size_t>(least - need.begin())] = {};
          *least = 1e9;
        }
        if (parameters_with(dims, layers) <= budget) losses.push_back(expected(curves, layers));
      }
  std::sort(losses.begin(), losses.end());
  const std::vector<SizeChoice> choices = size_choices(*question, curves);
  ASSERT_GE(choices.size(), 3u);
  const SizeChoice &best = choices[choices.size() - 2], &other = choices.back();
  EXPECT_NEAR(best.loss, losses[0], 1e-9);
  EXPECT_NE(other.name.find("in every layer"), std::string::npos) << other.name;
  EXPECT_TRUE(best.kept().size() == 4 || other.kept().size() == 4) << "none has all layers";
  for (const SizeChoice& choice : choices)
    if (choice.name == "sizes per layer, all blocks stay") {
      for (const LayerDims& l : choice.layers)
        EXPECT_TRUE(l[Axis::ffn] > 0 && l[Axis::kv_groups] > 0);
    }
}

TEST(LayerSizes, ShareOutTheTotalOfGivenSizes) {
  const arch::ModelDims dims = support::tiny_dims({.layers = 4, .ffn = 160});
  std::vector<BlockCurve> curves = random_curves(dims, 7);
  curves[1].drop *= 100;  // the FFN of layer 0
  const PruneTarget target{.sizes = {{Axis::ffn, 96}}};
  const auto question = size_question(target, true, kBoth, support::llama(), dims);
  ASSERT_TRUE(question.has_value());
  EXPECT_EQ(question->axes, std::set{Axis::ffn});
  EXPECT_FALSE(question->blocks || question->fewer_layers);
  const std::vector<SizeChoice> choices = size_choices(*question, curves);
  const SizeChoice& best = choices.front();
  std::int64_t total = 0;
  for (const LayerDims& l : best.layers) {
    EXPECT_EQ(l[Axis::kv_groups], 2);
    EXPECT_EQ(l[Axis::ffn] % 32, 0);
    EXPECT_GE(l[Axis::ffn], 32);
    total += l[Axis::ffn];
  }
  EXPECT_EQ(total, 4 * 96);
  EXPECT_NE(best.layers, choices.back().layers);
  EXPECT_EQ(choices.back().layers, std::vector(4, support::layer_sizes(2, 2, 96)));
  EXPECT_EQ(choices.back().name, "ffn 96 in every layer");
  const PrunePlan plan = plan_of(best, curves, dims);
  EXPECT_EQ(plan.keep_layers.size(), 4u);
  for (std::size_t l = 0; l < 4; ++l) {
    EXPECT_FALSE(plan.layers[l][Axis::kv_groups].has_value());
    if (best.layers[l][Axis::ffn] == 160) continue;
    // The curves' order is from the last index to the first.
    EXPECT_EQ(plan.layers[l][Axis::ffn]->front(), 160 - best.layers[l][Axis::ffn]);
    EXPECT_EQ(plan.layers[l][Axis::ffn]->back(), 159);
  }
  EXPECT_EQ(dims_after(plan, dims).layers, best.layers);
}

// Given sizes stand; the rest is chosen.
TEST(LayerSizes, KeepWhatIsGiven) {
  const arch::ModelDims dims = support::tiny_dims({.layers = 4, .ffn = 160});
  const std::vector<BlockCurve> curves = random_curves(dims, 9);
  const std::int64_t whole = arch::parameters(support::llama(), dims);
  EXPECT_FALSE(size_question({.parameters = whole}, false, kBoth, support::llama(), dims));
  EXPECT_FALSE(size_question({.layers = 2}, false, kBoth, support::llama(), dims));
  auto question = size_question({.layers = 3, .parameters = whole / 2, .sizes = {{Axis::ffn, 96}}},
                                false, kBoth, support::llama(), dims);
  ASSERT_TRUE(question.has_value());
  EXPECT_EQ(question->axes, std::set{Axis::kv_groups});
  settle(*question, {0, 1, 3}, dims);
  for (const SizeChoice& choice : size_choices(*question, curves)) {
    EXPECT_EQ(choice.kept(), (std::vector<std::int64_t>{0, 1, 3})) << choice.name;
    for (const std::int64_t l : choice.kept())
      EXPECT_EQ(choice.layers[static_cast<std::size_t>(l)][Axis::ffn], 96) << choice.name;
  }
  const auto fixed = size_question({.parameters = whole / 2, .sizes = {{Axis::ffn, 96}}}, false,
                                   {Axis::ffn}, support::llama(), dims);
  for (const SizeChoice& choice : size_choices(*fixed, curves))
    for (const LayerDims& l : choice.layers)
      EXPECT_TRUE(l[Axis::ffn] == 96 || l[Axis::ffn] == 0) << choice.name;
}

// What readers of a family allow: own sizes, absent blocks, or one size for all layers.
TEST(LayerSizes, AreEqualWhereReadersKnowOneSize) {
  int own = 0, one = 0;
  for (const arch::Arch* a : support::computed_archs()) {
    const arch::ModelDims dims = support::whole(*a);
    const std::int64_t budget = arch::parameters(*a, dims) * 8 / 10;
    const auto question = size_question({.parameters = budget}, false, kBoth, *a, dims);
    ASSERT_TRUE(question.has_value()) << a->name;
    const std::vector<BlockCurve> curves = random_curves(dims, 3);
    const std::vector<SizeChoice> choices = size_choices(*question, curves);
    (question->one_size ? one : own) += 1;
    for (const SizeChoice& choice : choices) {
      const arch::ModelDims after = dims_of(*question, choice);
      EXPECT_LE(arch::parameters(*a, after), budget) << a->name << " " << choice.name;
      EXPECT_NO_THROW(static_cast<void>(checkpoint::hf_family_for(*a, after))) << a->name;
      EXPECT_TRUE(after.uniform() || !question->one_size) << a->name << " " << choice.name;
    }
    EXPECT_EQ(dims_of(*question, choices.front()).uniform(), question->one_size) << a->name;
  }
  EXPECT_GE(own, 3);
  EXPECT_GE(one, 4);
}

TEST(LayerSizes, RefuseATotalThatIsOutOfReach) {
  const arch::ModelDims dims = support::tiny_dims({.layers = 4, .ffn = 160});
  const std::vector<BlockCurve> curves = random_curves(dims, 11);
  const auto question =
      size_question({.parameters = 320 * 64}, false, kBoth, support::llama(), dims);
  try {
    size_choices(*question, curves);
    ADD_FAILURE() << "chosen";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("parameters 20480: no sizes"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace espalier::plan
