// SPDX-License-Identifier: Apache-2.0
// Merging of dropped layers: the formula by hand in float64, for every family; what goes at the
// beginning, in a row and alone; and what cannot be merged.
#include "surgery/merge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "support/golden_models.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::surgery {
namespace {

using arch::Axis;
using arch::Role;
using checkpoint::Checkpoint;
using Values = std::vector<float>;

Checkpoint merged(const Checkpoint& source, const plan::PrunePlan& plan, const std::string& out) {
  prune_checkpoint(source, plan, out, {}, merge_dropped(source, plan), {});
  return Checkpoint::open(out);
}

plan::PrunePlan keeping(std::vector<std::int64_t> layers) {
  plan::PrunePlan plan{.keep_layers = std::move(layers)};
  plan.layers.resize(plan.keep_layers.size());
  return plan;
}

// Of every family, layer 0 takes all the others, norms and biases too.
TEST(Merge, FollowsTheFormulaInEveryFamily) {
  const support::TempDir dir;
  std::set<std::string_view> families;
  for (const char* name : support::kGoldenModels) {
    const Checkpoint source = Checkpoint::open(support::golden_model(name).directory);
    if (!source.dims().uniform()) continue;
    const Checkpoint out = merged(source, keeping({0}), dir.file(name));
    ASSERT_EQ(out.dims().n_layers(), 1) << name;
    for (const arch::TensorRef& t : arch::tensors(out.arch(), out.dims())) {
      const Role role = t.spec->role;
      const Values found = out.read(role, t.layer);
      if (t.layer < 0) {
        EXPECT_EQ(found, source.read(role, -1)) << name << " " << t.spec->hf;
        continue;
      }
      const Values first = source.read(role, 0);
      std::vector<double> wanted(first.begin(), first.end());
      for (int l = 1; l < static_cast<int>(source.dims().n_layers()); ++l) {
        const Values other = source.read(role, l);
        for (std::size_t i = 0; i < wanted.size(); ++i)
          wanted[i] += static_cast<double>(other[i]) - static_cast<double>(first[i]);
      }
      ASSERT_EQ(found.size(), wanted.size());
      double worst = 0;
      for (std::size_t i = 0; i < wanted.size(); ++i)
        worst = std::max(worst, std::abs(found[i] - wanted[i]));
      EXPECT_LT(worst, 1e-5) << name << " " << t.spec->hf;
    }
    families.insert(source.arch().name);
  }
  EXPECT_EQ(families.size(), 12u);  // all but deci and openelm, whose layers differ, and experts
}

// theta_l + (theta_(l+1) - theta_l): one layer that goes alone takes the place of that before it.
TEST(Merge, ASingleLayerIsTakenToTheBit) {
  const support::TempDir dir;
  const Checkpoint source =
      Checkpoint::open(support::write_tiny_llama(dir.file("hf"), {.layers = 5, .seed = 4}));
  plan::PrunePlan plan = keeping({0, 1, 3, 4});
  plan.hidden = std::vector<std::int64_t>{0, 3, 4, 60};
  const Checkpoint out = merged(source, plan, dir.file("merged"));
  plan.keep_layers = {0, 2, 3, 4};
  prune_checkpoint(source, plan, dir.file("other"), {}, {}, {});
  const Checkpoint other = Checkpoint::open(dir.file("other"));
  ASSERT_EQ(out.dims(), other.dims());
  for (const arch::TensorRef& t : arch::tensors(out.arch(), out.dims()))
    EXPECT_EQ(out.read(t.spec->role, t.layer), other.read(t.spec->role, t.layer)) << t.spec->hf;
}

// Sum of +1 and -1 times tensors of the source's layers.
Values sum_of(const Checkpoint& source, Role role, const std::map<int, int>& layers) {
  Values out;
  for (const auto& [layer, times] : layers) {
    const Values values = source.read(role, layer);
    out.resize(values.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += static_cast<float>(times) * values[i];
  }
  return out;
}

void expect_near(const Values& a, const Values& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5) << i;
}

// Layers at the beginning go to the first that stays. Blocks that go alone go to the layer before
// that keeps one of the kind, and what nothing goes into is unchanged.
TEST(Merge, BeginningsAndSingleBlocks) {
  const support::TempDir dir;
  const Checkpoint source =
      Checkpoint::open(support::write_tiny_llama(dir.file("hf"), {.layers = 7, .seed = 2}));
  plan::PrunePlan plan = keeping({2, 3, 4, 6});
  plan.layers[1][Axis::ffn] = std::vector<std::int64_t>();        // of layer 3
  plan.layers[2][Axis::kv_groups] = std::vector<std::int64_t>();  // of layer 4
  const Checkpoint out = merged(source, plan, dir.file("out"));
  // Attention: 0 and 1 to 2; 4 and 5 to 3. FFN: 0, 1 and 3 to 2; 5 to 4.
  expect_near(out.read(Role::attn_q, 0), sum_of(source, Role::attn_q, {{0, 1}, {1, 1}, {2, -1}}));
  expect_near(out.read(Role::attn_norm, 1),
              sum_of(source, Role::attn_norm, {{4, 1}, {5, 1}, {3, -1}}));
  expect_near(out.read(Role::ffn_down, 0),
              sum_of(source, Role::ffn_down, {{0, 1}, {1, 1}, {3, 1}, {2, -2}}));
  expect_near(out.read(Role::ffn_up, 2), source.read(Role::ffn_up, 5));
  for (const Role role : {Role::attn_output, Role::ffn_gate, Role::ffn_norm})
    EXPECT_EQ(out.read(role, 3), source.read(role, 6));
}

TEST(Merge, RefusesWhatHasNoSum) {
  const support::TempDir dir;
  const Checkpoint uniform =
      Checkpoint::open(support::write_tiny_llama(dir.file("hf"), {.layers = 4}));
  plan::PrunePlan cut = plan::keep_all(uniform.dims());
  cut.layers[1][Axis::ffn] = std::vector<std::int64_t>{0, 1, 2};
  prune_checkpoint(uniform, cut, dir.file("unequal"), {}, {}, {});
  const Checkpoint unequal = Checkpoint::open(dir.file("unequal"));
  const auto refused = [](const Checkpoint& source, const plan::PrunePlan& plan,
                          core::ErrorKind kind, const std::vector<std::string>& parts) {
    try {
      require_mergeable(source.arch(), source.dims(), plan);
      ADD_FAILURE() << parts[0];
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), kind) << e.what();
      for (const std::string& part : parts)
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  refused(uniform, plan::keep_all(uniform.dims()), core::ErrorKind::usage, {"no layer", "layers"});
  refused(uniform, cut, core::ErrorKind::usage, {"no layer", "layers"});  // the same with a cut
  refused(unequal, keeping({0, 2, 3}), core::ErrorKind::unsupported,
          {"FFN of layer 1 (ffn 3)", "layer 0 (ffn 96)", "least_squares"});
  plan::PrunePlan also = keeping({0, 2, 3});
  also.layers[0][Axis::ffn] = std::vector<std::int64_t>{4, 5};
  refused(uniform, also, core::ErrorKind::usage, {"layer 0 keeps 2 of 96 ffn", "prune the result"});
  also.layers[0] = {};
  also.layers[1][Axis::ffn] = std::vector<std::int64_t>{4, 5};  // nothing is merged into that one
  EXPECT_NO_THROW(require_mergeable(uniform.arch(), uniform.dims(), also));
  plan::PrunePlan none = keeping({1});
  none.layers[0][Axis::kv_groups] = std::vector<std::int64_t>();
  refused(uniform, none, core::ErrorKind::unsupported, {"no attention stays"});
}

}  // namespace
}  // namespace espalier::surgery
