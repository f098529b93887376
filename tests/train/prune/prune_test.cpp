// SPDX-License-Identifier: Apache-2.0
// Criteria over the whole list: right length, finite, equivariant to permutation, a zeroed channel
// last. The pruning pass: least squares follows the dense stream better than cutting alone; a
// channel that nothing consumes can go without changing the logits; exact sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "format/safetensors.h"
#include "layerwise/backward.h"
#include "prune/criterion.h"
#include "prune/pruner.h"
#include "prune/sequential.h"
#include "support/edit_tensors.h"
#include "support/layer_sizes.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"
#include "surgery/surgery.h"

namespace espalier::prune {
namespace {

using arch::Axis;
using arch::Role;

struct Fixture {
  support::TempDir dir;
  support::TinyOptions options{
      .hidden = 64, .layers = 4, .kv_groups = 2, .q_per_kv = 3, .head_dim = 16, .ffn = 96};
  std::string directory = support::write_tiny_llama(dir.file("model"), options);
  model::Transformer model = model::Transformer::load(checkpoint::Checkpoint::open(directory), {});
  torch::Tensor windows = [this] {
    torch::Tensor w = torch::empty({12, 48}, torch::kInt64);
    std::uint64_t state = 1;
    for (std::int64_t i = 0; i < w.numel(); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      w.data_ptr<std::int64_t>()[i] =
          static_cast<std::int64_t>((state >> 33) % static_cast<std::uint64_t>(options.vocab));
    }
    return w;
  }();
  StatisticNames all = [] {
    StatisticNames names;
    for (const Statistic* s : all_statistics()) names.insert(s->name);
    return names;
  }();
};

Sums collected(const model::Transformer& model, const Fixture& f) {
  return collect(model, f.windows, f.all, {});
}

// Those that score the indices of layers' axes. The others score layers or blocks
// (layers_test.cpp), or hidden alone (rotation_test.cpp).
std::vector<const Criterion*> of_axes() {
  std::vector<const Criterion*> out;
  for (const Criterion* c : all_criteria())
    if (c->axes.contains(Axis::ffn)) out.push_back(c);
  return out;
}
// The first of those that read the same sums at the same time, for tests that take long.
std::vector<const Criterion*> one_of_each_kind() {
  std::vector<const Criterion*> out;
  for (const Criterion* c : of_axes())
    if (std::none_of(out.begin(), out.end(), [&](const Criterion* other) {
          return other->scope == c->scope && other->needs == c->needs;
        }))
      out.push_back(c);
  return out;
}

TEST(Criteria, TheListHasAsManyAsWeThink) {
  EXPECT_EQ(all_criteria().size(), 25u);
  EXPECT_EQ(of_axes().size(), 17u);
  EXPECT_EQ(one_of_each_kind().size(), 8u);
  for (const Criterion* c : all_criteria()) {
    EXPECT_EQ(c->score == nullptr, c->axes.empty()) << c->name;
    EXPECT_TRUE(c->score != nullptr || c->layers != nullptr || c->blocks != nullptr) << c->name;
    EXPECT_TRUE(c->score != nullptr || c->needs.empty()) << c->name;
  }
}

// A pruning pass gives a criterion of a layer all that it needs. Gradients need the whole model.
TEST(Criteria, NeedWhatTheirScopeCanGive) {
  for (const Criterion* c : all_criteria()) {
    EXPECT_TRUE(c->scope == Scope::model || !any_backward(c->needs)) << c->name;
    for (const std::string_view name : c->needs)
      EXPECT_TRUE(c->scope == Scope::model || statistic_by_name(name).of_block != nullptr)
          << c->name << " " << name;
  }
}

TEST(Criteria, RightLengthFiniteAndZeroedChannelLast) {
  Fixture f;
  torch::NoGradGuard no_grad;
  f.model.weight(Role::ffn_down, 1).select(1, 17).zero_();
  f.model.weight(Role::ffn_up, 1).select(0, 17).zero_();
  f.model.weight(Role::attn_output, 2).slice(1, 0, 48).zero_();  // KV group 0
  f.model.weight(Role::attn_v, 2).slice(0, 0, 16).zero_();
  const Sums statistics = collected(f.model, f);
  torch::InferenceMode inference;
  for (const Criterion* c : of_axes()) {
    const std::vector<double> ffn = c->score({f.model, statistics}, Axis::ffn, 1);
    ASSERT_EQ(ffn.size(), 96u) << c->name;
    for (double v : ffn) ASSERT_TRUE(std::isfinite(v)) << c->name;
    if (c->name == "random") continue;
    EXPECT_EQ(std::min_element(ffn.begin(), ffn.end()) - ffn.begin(), 17) << c->name;
    const std::vector<double> groups = c->score({f.model, statistics}, Axis::kv_groups, 2);
    ASSERT_EQ(groups.size(), 2u) << c->name;
    EXPECT_LT(groups[0], groups[1]) << c->name;
  }
}

TEST(Criteria, ScoresThatAreNoNumbersRankNothing) {
  EXPECT_EQ(keep_highest({1, 3, 2}, 2), (std::vector<std::int64_t>{1, 2}));
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_THROW(keep_highest({1, bad, 2}, 2), core::Error);
    try {
      require_finite("ffn.3", {1, bad, 2});
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::input);
      EXPECT_NE(std::string(e.what()).find("ffn.3: the score of index 1"), std::string::npos)
          << e.what();
    }
  }
}

TEST(Criteria, PermutingChannelsPermutesScores) {
  Fixture f;
  torch::NoGradGuard no_grad;
  const Sums before = collected(f.model, f);
  const torch::Tensor order = torch::arange(96).flip(0);
  for (Role r : {Role::ffn_gate, Role::ffn_up})
    f.model.weight(r, 0).copy_(f.model.weight(r, 0).index_select(0, order).clone());
  model::Transformer permuted = f.model;
  model::Transformer original =
      model::Transformer::load(checkpoint::Checkpoint::open(f.directory), {});
  permuted.weight(Role::ffn_down, 0)
      .copy_(permuted.weight(Role::ffn_down, 0).index_select(1, order).clone());
  const Sums after = collected(permuted, f);
  torch::InferenceMode inference;
  for (const Criterion* c : of_axes()) {
    if (c->name == "random") continue;
    const auto a = c->score({original, before}, Axis::ffn, 0),
               b = c->score({permuted, after}, Axis::ffn, 0);
    double largest = 0;
    for (double v : a) largest = std::max(largest, std::abs(v));
    for (std::size_t i = 0; i < a.size(); ++i)
      ASSERT_NEAR(a[i], b[95 - i], 1e-3 * largest) << c->name << " channel " << i;
  }
}

// The first-order change is the slope of the loss as the group's weights are scaled.
TEST(Criteria, TaylorIsTheSlopeOfTheLoss) {
  Fixture f;
  const Criterion& taylor = criterion_by_name("taylor");
  const Sums sums = collected(f.model, f);
  const auto loss = [&](Axis axis, std::int64_t index, double scale) {
    model::Transformer scaled = f.model;
    const arch::ModelDims& dims = f.model.dims();
    for (const arch::TensorSpec& spec : arch::block_of(f.model.arch(), axis).tensors) {
      if (!f.model.has(spec.role, 1)) continue;
      torch::Tensor w = f.model.weight(spec.role, 1).clone();
      const auto apply = [&](const arch::Extent& extent, std::int64_t dim) {
        if (!touches(extent, axis)) return;
        const std::vector<std::int64_t> one{index};
        const auto at = arch::surviving(extent, axis, one, dims, &dims.layers[1]);
        w.index_copy_(dim, torch::tensor(at), w.index_select(dim, torch::tensor(at)) * scale);
      };
      apply(spec.rows, 0);
      if (!absent(spec.cols)) apply(spec.cols, 1);
      scaled.set_weight(spec.role, 1, w);
    }
    return layerwise::walk_back(scaled, f.windows, {});
  };
  for (const auto& [axis, index] : {std::pair(Axis::kv_groups, 0), std::pair(Axis::ffn, 5)}) {
    const double score = taylor.score({f.model, sums}, axis, 1).at(static_cast<std::size_t>(index));
    const double slope = std::abs(loss(axis, index, 1.02) - loss(axis, index, 0.98)) / 0.04;
    EXPECT_NEAR(score, slope, 0.02 * slope + 1e-4) << arch::axis_name(axis);
    EXPECT_GT(score, 1e-3) << arch::axis_name(axis);
  }
}

double stream_error(const Fixture& f, Compensation compensation, const char* criterion,
                    const std::string& out) {
  const auto source = checkpoint::Checkpoint::open(f.directory);
  core::write_text_file(out + ".txt", [] {
    std::string text;
    for (int i = 0; i < 4000; ++i)
      text += "word" + std::to_string(i * 7919 % 997) + (i % 9 ? " " : ".\n");
    return text;
  }());
  PruneOptions options;
  options.target.sizes[arch::Axis::ffn] = 64;
  options.target.sizes[arch::Axis::kv_groups] = 1;
  options.target.layers = 3;
  options.criterion = criterion;
  options.compensation = compensation;
  options.texts = {{out + ".txt"}};
  options.calibration = {.tokens = 4096, .sequence = 64, .seed = 0};
  const PruneResult result = prune(source, out, options, {});
  const auto pruned = checkpoint::Checkpoint::open(out);
  EXPECT_EQ(pruned.dims().layers.size(), 3u);
  EXPECT_EQ(pruned.dims().layers[0][arch::Axis::ffn], 64);
  EXPECT_EQ(pruned.dims().layers[0][arch::Axis::kv_groups], 1);
  EXPECT_EQ(arch::parameters(pruned.arch(), pruned.dims()), result.parameters_after);
  const model::Transformer student = model::Transformer::load(pruned, {});
  const text::Tokenizer tokenizer(source.tokenizer());
  const std::vector<std::int32_t> ids = tokenizer.encode(core::read_text_file(out + ".txt"));
  const torch::Tensor x =
      torch::tensor(std::vector<std::int64_t>(ids.end() - 512, ids.end())).view({8, 64});
  torch::InferenceMode inference;
  const torch::Tensor p = torch::log_softmax(f.model.forward(x), -1),
                      q = torch::log_softmax(student.forward(x), -1);
  return (p.exp() * (p - q)).sum(-1).mean().item<double>();
}

TEST(Pruner, LeastSquaresFollowsTheTeacherBetter) {
  Fixture f;
  for (const char* criterion : {"activation", "obs"}) {
    const double cut =
        stream_error(f, Compensation::none, criterion, f.dir.file(std::string("cut-") + criterion));
    const double refitted = stream_error(f, Compensation::least_squares, criterion,
                                         f.dir.file(std::string("fit-") + criterion));
    EXPECT_LT(refitted, 0.8 * cut) << criterion;
  }
}

TEST(Pruner, TheRidgeTiesTheRefittedWeightsToTheOriginals) {
  Fixture f;
  const auto distance = [&](double ridge) {
    const SequentialInput input{f.model,
                                f.windows,
                                criterion_by_name("weighted_rms"),
                                Compensation::least_squares,
                                ridge,
                                {0, 1, 2, 3},
                                std::nullopt,
                                std::vector<arch::LayerDims>(4, support::layer_sizes(2, 3, 64))};
    const SequentialResult result = prune_sequentially(input);
    const torch::Tensor kept = torch::tensor(*result.layers[0][arch::Axis::ffn]),
                        original = f.model.weight(Role::ffn_down, 0).index_select(1, kept);
    return ((result.replaced.at({Role::ffn_down, 0}) - original).norm() / original.norm())
        .item<double>();
  };
  EXPECT_LT(distance(1e9), 1e-6);
  EXPECT_LT(distance(0.2), distance(0.002));
  EXPECT_GT(distance(0.002), 0.01);
}

TEST(Pruner, AChannelThatNothingConsumesCanGo) {
  Fixture f;
  torch::NoGradGuard no_grad;
  for (int l = 0; l < 4; ++l)
    for (std::int64_t c : {3, 50, 95}) f.model.weight(Role::ffn_down, l).select(1, c).zero_();
  const SequentialInput input{f.model,
                              f.windows,
                              criterion_by_name("weighted_rms"),
                              Compensation::none,
                              0.2,
                              {0, 1, 2, 3},
                              std::nullopt,
                              std::vector<arch::LayerDims>(4, support::layer_sizes(2, 3, 93))};
  const SequentialResult result = prune_sequentially(input);
  ASSERT_EQ(result.layers.size(), 4u);
  EXPECT_TRUE(result.replaced.empty());
  for (const plan::LayerSelection& l : result.layers) {
    ASSERT_TRUE(l[arch::Axis::ffn].has_value());
    for (std::int64_t c : {3, 50, 95})
      EXPECT_FALSE(std::binary_search(l[arch::Axis::ffn]->begin(), l[arch::Axis::ffn]->end(), c));
  }
}

// A source whose layers differ and lack blocks: each is cut to what is asked for, or keeps the less
// it has.
TEST(Pruner, UnequalSources) {
  Fixture f;
  const auto some = [](std::int64_t n) {
    std::vector<std::int64_t> out(static_cast<std::size_t>(n));
    std::iota(out.begin(), out.end(), 0);
    return out;
  };
  {
    const auto uniform = checkpoint::Checkpoint::open(f.directory);
    plan::PrunePlan plan = plan::keep_all(uniform.dims());
    plan.layers = {{{arch::Axis::ffn, some(80)}},
                   {{arch::Axis::ffn, some(32)}},
                   {{arch::Axis::kv_groups, some(1)}, {arch::Axis::ffn, some(0)}},
                   {{arch::Axis::kv_groups, some(0)}}};
    surgery::prune_checkpoint(uniform, plan, f.dir.file("unequal"), {}, {}, {});
  }
  const auto source = checkpoint::Checkpoint::open(f.dir.file("unequal"));
  ASSERT_EQ(source.arch().name, "deci");
  std::string words;
  for (int i = 0; i < 4000; ++i)
    words += "word" + std::to_string(i * 7919 % 997) + (i % 9 ? " " : ".\n");
  core::write_text_file(f.dir.file("text.txt"), words);
  const std::vector<std::int32_t> ids = text::Tokenizer(source.tokenizer()).encode(words);
  const torch::Tensor windows =
      torch::tensor(std::vector<std::int64_t>(ids.end() - 512, ids.end())).view({8, 64});
  PruneOptions options;
  options.target = {.sizes = {{arch::Axis::ffn, 64}, {arch::Axis::kv_groups, 1}}};
  options.texts = {{f.dir.file("text.txt")}};
  options.calibration = {.tokens = 4096, .sequence = 64, .seed = 0};
  const auto divergence = [&](const char* criterion, Compensation compensation) {
    options.criterion = criterion;
    options.compensation = compensation;
    const std::string out =
        f.dir.file(std::string(criterion) + (compensation == Compensation::none ? "-cut" : "-fit"));
    const PruneResult result = prune(source, out, options, {});
    const auto pruned = checkpoint::Checkpoint::open(out);
    EXPECT_EQ(pruned.dims().layers,
              support::layer_list({{1, 3, 64}, {1, 3, 32}, {1, 3, 0}, {0, 0, 64}}))
        << criterion;
    EXPECT_EQ(arch::parameters(pruned.arch(), pruned.dims()), result.parameters_after);
    EXPECT_EQ(result.notes,
              (std::vector<std::string>{"ffn 64: layers 1 have less and keep all of it"}));
    const model::Transformer teacher = model::Transformer::load(source, {}),
                             student = model::Transformer::load(pruned, {});
    torch::InferenceMode inference;
    const torch::Tensor p = torch::log_softmax(teacher.forward(windows), -1),
                        q = torch::log_softmax(student.forward(windows), -1);
    return (p.exp() * (p - q)).sum(-1).mean().item<double>();
  };
  for (const Criterion* c : one_of_each_kind()) {
    const std::string name(c->name);
    EXPECT_LT(divergence(name.c_str(), Compensation::least_squares),
              divergence(name.c_str(), Compensation::none))
        << name;
    score(source, {options.texts, name, f.dir.file(name + ".safetensors"), options.calibration},
          {});
    const auto scores = format::SafetensorsSet::open_file(f.dir.file(name + ".safetensors"));
    EXPECT_EQ(scores.find("ffn.1")->shape, std::vector<std::int64_t>{32}) << name;
    EXPECT_EQ(scores.find("ffn.2"), nullptr) << name;
    EXPECT_EQ(scores.find("kv_groups.3"), nullptr) << name;
  }
  options.target.layers = 2;  // their importance decides which
  options.criterion = "obs";
  EXPECT_EQ(prune(source, f.dir.file("two"), options, {}).plan.keep_layers.size(), 2u);
  options.target.hidden = 32;
  options.criterion = "activation";
  EXPECT_NO_THROW(prune(source, f.dir.file("thin"), options, {}));
}

// Killed behind any layer and started again: the same bytes, and the layers before are not cut
// again.
TEST(Pruner, GoesOnWhereItWasKilled) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  core::write_text_file(f.dir.file("text.txt"), [] {
    std::string text;
    for (int i = 0; i < 900; ++i)
      text += "word" + std::to_string(i * 7919 % 997) + (i % 9 ? " " : ".\n");
    return text;
  }());
  struct Killed {};
  for (const Compensation compensation : {Compensation::least_squares, Compensation::none}) {
    PruneOptions options;
    options.target.sizes[arch::Axis::ffn] = 64;
    options.target.sizes[arch::Axis::kv_groups] = 1;
    options.target.layers = 3;
    options.target.hidden = 32;
    options.compensation = compensation;
    options.texts = {{f.dir.file("text.txt")}};
    options.calibration = {.tokens = 1024, .sequence = 64, .seed = 0};
    options.state_share = 1;
    const std::string whole = f.dir.file("whole"), broken = f.dir.file("broken");
    prune(source, whole, options, {});
    EXPECT_FALSE(std::filesystem::exists(whole + "/checkpoint"));
    for (const std::int64_t last : {1, 2}) {
      options.resume = false;
      const auto until = [&](const core::ProgressEvent& e) {
        if (e.stage == "prune" && e.unit == "layers" && e.done == last) throw Killed();
      };
      EXPECT_THROW(prune(source, broken, options, until), Killed);
      EXPECT_TRUE(std::filesystem::exists(broken + "/checkpoint/walk.safetensors"));
      options.resume = true;
      PruneOptions other = options;
      other.calibration.seed = 1;
      EXPECT_THROW(prune(source, broken, other, {}), core::Error) << "another text";
      std::vector<std::int64_t> cut;
      prune(source, broken, options, [&](const core::ProgressEvent& e) {
        if (e.stage == "prune" && e.unit == "layers") cut.push_back(e.done);
      });
      EXPECT_EQ(cut.front(), last + 1);
      EXPECT_FALSE(std::filesystem::exists(broken + "/checkpoint"));
      for (const char* file : {"/model.safetensors", "/plan.json", "/config.json"})
        EXPECT_EQ(core::read_text_file(broken + file), core::read_text_file(whole + file)) << file;
    }
  }
}

TEST(Pruner, ABrokenStateIsRefusedAndAFullDiskOnlySaidSo) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  core::write_text_file(f.dir.file("text.txt"), [] {
    std::string text;
    for (int i = 0; i < 900; ++i) text += "word" + std::to_string(i * 7919 % 997) + " ";
    return text;
  }());
  PruneOptions options;
  options.target.sizes[arch::Axis::ffn] = 64;
  options.texts = {{f.dir.file("text.txt")}};
  options.calibration = {.tokens = 1024, .sequence = 64, .seed = 0};
  options.state_share = 1;
  const std::string out = f.dir.file("out");
  struct Killed {};
  EXPECT_THROW(prune(source, out, options,
                     [](const core::ProgressEvent& e) {
                       if (e.stage == "prune") throw Killed();
                     }),
               Killed);
  core::write_text_file(out + "/checkpoint/walk.safetensors", "nonsense");
  options.resume = true;
  EXPECT_THROW(prune(source, out, options, {}), core::Error);
  options.resume = false;
  EXPECT_NO_THROW(prune(source, out, options, {}));
  core::write_text_file(f.dir.file("blocked/checkpoint"), "a file where the folder should be");
  options.resume = true;
  EXPECT_NO_THROW(prune(source, f.dir.file("blocked"), options, {}));
  ASSERT_FALSE(core::notes().empty());
  EXPECT_NE(core::notes().back().find("resume"), std::string::npos) << core::notes().back();
}

std::string words_file(const Fixture& f) {
  std::string text;
  for (int i = 0; i < 900; ++i) text += "word" + std::to_string(i * 7919 % 997) + " ";
  core::write_text_file(f.dir.file("words.txt"), text);
  return f.dir.file("words.txt");
}

// Scores in a file choose what the criterion chooses; with a text the cut is compensated.
TEST(Pruner, ScoresOfAFileDecideLikeTheirCriterion) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  const text::CalibrationOptions calibration{.tokens = 1024, .sequence = 64, .seed = 0};
  const std::string text = words_file(f), file = f.dir.file("scores.safetensors");
  score(source, {{{text}}, "taylor", file, calibration}, {});
  PruneOptions options;
  options.target = {.layers = 3, .sizes = {{arch::Axis::ffn, 64}, {arch::Axis::kv_groups, 1}}};
  options.texts = {{text}};
  options.calibration = calibration;
  options.criterion = "taylor";
  const plan::PrunePlan by_criterion = prune(source, f.dir.file("a"), options, {}).plan;
  options.criterion = "activation";
  options.scores_path = file;
  const plan::PrunePlan by_file = prune(source, f.dir.file("b"), options, {}).plan;
  EXPECT_EQ(plan::to_json(by_file, source.arch(), source.dims()),
            plan::to_json(by_criterion, source.arch(), source.dims()));
  EXPECT_EQ(core::read_text_file(f.dir.file("a/model.safetensors")),
            core::read_text_file(f.dir.file("b/model.safetensors")));
  const Scores scores = read_scores(file, source.dims());
  EXPECT_EQ(*by_file.layers[0][arch::Axis::ffn],
            keep_highest(
                scores.at(scores_name(Axis::ffn, static_cast<int>(by_file.keep_layers[0]))), 64));

  const auto refused = [&](const std::vector<std::string>& parts) {
    try {
      check(options, source.arch(), source.dims());
      prune(source, f.dir.file("no"), options, {});
      ADD_FAILURE() << parts[0];
    } catch (const core::Error& e) {
      for (const std::string& part : parts)
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  options.target.hidden = 32;  // taylor does not score it
  refused({"scores.safetensors", "hidden"});
  options.target.hidden.reset();
  core::write_text_file(f.directory + "/generation_config.json", "{}\n");
  try {
    prune(checkpoint::Checkpoint::open(f.directory), f.dir.file("no"), options, {});
    ADD_FAILURE() << "another model";
  } catch (const core::Error& e) {
    EXPECT_NE(std::string(e.what()).find("another model"), std::string::npos) << e.what();
  }
  arch::ModelDims dims = source.dims();
  dims.layers[2][arch::Axis::ffn] = 95;
  EXPECT_THROW(read_scores(file, dims), core::Error);
}

// An axis that a criterion does not score is refused before any text is read, for every axis.
TEST(Pruner, AnAxisThatIsNotScoredIsRefused) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  int refusals = 0;
  for (const Criterion* c : all_criteria())
    for (const Axis axis : {Axis::hidden, Axis::ffn, Axis::kv_groups}) {
      PruneOptions options;
      options.criterion = c->name;
      if (axis == Axis::hidden) options.target.hidden = 32;
      if (axis == Axis::ffn) options.target.sizes[arch::Axis::ffn] = 64;
      if (axis == Axis::kv_groups) options.target.sizes[arch::Axis::kv_groups] = 1;
      if (c->axes.contains(axis)) {
        EXPECT_NO_THROW(check(options, source.arch(), source.dims()));
        continue;
      }
      ++refusals;
      try {
        check(options, source.arch(), source.dims());
        ADD_FAILURE() << c->name;
      } catch (const core::Error& e) {
        EXPECT_EQ(e.kind(), core::ErrorKind::usage);
        EXPECT_NE(std::string(e.what()).find("activation"), std::string::npos) << e.what();
      }
    }
  // hidden by obs, taylor, fisher, taylor_elements, wanda_sp and flap; all by those of layers and
  // blocks; the others by pca
  EXPECT_EQ(refusals, 6 + 3 * 7 + 2);
}

// Killed behind any layer and started again: the same bytes.
TEST(Pruner, ScoresGoOnWhereTheyWereKilled) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  const std::string text = words_file(f), whole = f.dir.file("whole"),
                    broken = f.dir.file("broken");
  const text::CalibrationOptions calibration{.tokens = 1024, .sequence = 64, .seed = 0};
  struct Killed {};
  for (const char* criterion : {"activation", "obs"}) {
    score(source, {{{text}}, criterion, whole, calibration}, {});
    ScoreOptions options{
        {{text}}, criterion, broken, calibration, {.folder = broken + ".work", .share = 1}};
    EXPECT_THROW(score(source, options,
                       [](const core::ProgressEvent& e) {
                         if (e.unit == "layers" && e.done == 2) throw Killed();
                       }),
                 Killed);
    EXPECT_TRUE(std::filesystem::exists(broken + ".work/walk.safetensors"));
    options.work.resume = true;
    std::vector<std::int64_t> walked;
    score(source, options, [&](const core::ProgressEvent& e) {
      if (e.unit == "layers") walked.push_back(e.done);
    });
    EXPECT_EQ(walked, (std::vector<std::int64_t>{3, 4})) << criterion;
    EXPECT_EQ(core::read_text_file(broken), core::read_text_file(whole)) << criterion;
    EXPECT_FALSE(std::filesystem::exists(broken + ".work"));
  }
}

// The report's block influence comes from the pass, also when that was killed, and is the same as
// when it decides which layers go.
TEST(Pruner, BlockInfluenceNeedsNoPassOfItsOwn) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  PruneOptions options;
  options.target.sizes[arch::Axis::ffn] = 64;
  options.texts = {{words_file(f)}};
  options.calibration = {.tokens = 1024, .sequence = 64, .seed = 0};
  options.state_share = 1;
  const auto influence = [&](const std::string& directory) {
    const std::string json = core::read_text_file(directory + "/importance.json");
    return json.substr(0, json.find("kept_layers"));
  };
  std::int64_t layers = 0;
  struct Killed {};
  EXPECT_THROW(prune(source, f.dir.file("pass"), options,
                     [&](const core::ProgressEvent& e) {
                       layers += e.unit == "layers";
                       if (e.unit == "layers" && e.done == 2) throw Killed();
                     }),
               Killed);
  options.resume = true;
  prune(source, f.dir.file("pass"), options,
        [&](const core::ProgressEvent& e) { layers += e.unit == "layers"; });
  EXPECT_EQ(layers, 4);
  options.resume = false;
  options.target.layers = 3;
  prune(source, f.dir.file("dropped"), options, {});
  EXPECT_EQ(influence(f.dir.file("pass")), influence(f.dir.file("dropped")));
  EXPECT_NE(influence(f.dir.file("pass")).find("block_influence"), std::string::npos);
}

TEST(Pruner, EveryCriterionRefusesAModelThatOverflows) {
  Fixture f;
  std::string words;
  for (int i = 0; i < 300; ++i) words += "word " + std::to_string(i * 37 % 101) + " ";
  core::write_text_file(f.dir.file("text.txt"), words);
  for (const auto& [name, value] :
       {std::pair("model.layers.1.mlp.up_proj.weight", 1e24f),
        std::pair("model.layers.1.mlp.up_proj.weight", 3e38f),
        std::pair("model.layers.1.mlp.down_proj.weight", std::numeric_limits<float>::infinity())}) {
    const std::string path = support::write_tiny_llama(f.dir.file("large"), f.options);
    support::edit_tensors(path, [&](support::RawTensors& all) {
      for (int i = 0; i < 64; ++i) all.at(name).set(i, value);
    });
    const auto source = checkpoint::Checkpoint::open(path);
    std::vector<const Criterion*> criteria = one_of_each_kind();
    for (const Criterion* c : all_criteria())
      if (c->score == nullptr) criteria.push_back(c);
    for (const Criterion* c : criteria) {
      // Activations of 1e24 are finite, their squares are not.
      if (value == 1e24f && !c->needs.contains("second_moments")) continue;
      const text::CalibrationOptions calibration{.tokens = 512, .sequence = 64, .seed = 0};
      const auto refused = [&](const std::function<void()>& run) {
        try {
          run();
          ADD_FAILURE() << c->name << ": a result with " << name << " of " << value;
        } catch (const core::Error& e) {
          EXPECT_EQ(e.kind(), core::ErrorKind::input) << c->name << ": " << e.what();
        }
      };
      refused([&] {
        score(source,
              {{{f.dir.file("text.txt")}},
               std::string(c->name),
               f.dir.file("s.safetensors"),
               calibration},
              {});
      });
      refused([&] {
        PruneOptions options;
        if (c->blocks != nullptr)
          options.blocks = 6;
        else if (c->score == nullptr)
          options.target.layers = 3;
        else
          options.target.sizes[arch::Axis::ffn] = 64;
        options.criterion = std::string(c->name);
        options.texts = {{f.dir.file("text.txt")}};
        options.calibration = calibration;
        prune(source, f.dir.file("pruned"), options, {});
      });
    }
  }
}

TEST(Pruner, RefusesWhatItCannotDo) {
  Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  core::write_text_file(f.dir.file("short.txt"), "a b c");
  PruneOptions options;
  options.target.sizes[arch::Axis::ffn] = 64;
  options.texts = {{f.dir.file("short.txt")}};
  EXPECT_THROW(prune(source, f.dir.file("x"), options, {}), core::Error);
  options.target.sizes[arch::Axis::ffn] = 65;  // not a granule
  EXPECT_THROW(prune(source, f.dir.file("x"), options, {}), core::Error);
  EXPECT_THROW(criterion_by_name("activatoin"), core::Error);
}

}  // namespace
}  // namespace espalier::prune
