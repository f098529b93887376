// SPDX-License-Identifier: Apache-2.0
// Sizes within a total: curves against least squares by hand, windows that judge and are not fitted
// to, what a run decides and writes, a kill on the way, scores of a file.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/rng.h"
#include "layerwise/normal_equations.h"
#include "prune/choose_sizes.h"
#include "prune/criteria/loss.h"
#include "support/layer_sizes.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::prune {
namespace {

using arch::Axis;
using arch::Role;
using torch::Tensor;

struct Fixture {
  support::TempDir dir;
  support::TinyOptions options{
      .hidden = 32, .layers = 4, .kv_groups = 2, .q_per_kv = 2, .head_dim = 8, .ffn = 128};
  std::string directory = support::write_tiny_llama(dir.file("model"), options);
  checkpoint::Checkpoint source = checkpoint::Checkpoint::open(directory);
  model::Transformer model = model::Transformer::load(source, {});
  Tensor windows = random_windows(10, 3);

  static Tensor random_windows(std::int64_t n, std::uint64_t seed) {
    Tensor ids = torch::empty({n, 24}, torch::kInt64);
    core::Rng rng(seed);
    auto* id = ids.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      id[i] = static_cast<std::int64_t>(rng.below(320));
    return ids;
  }
  PruneOptions prune_options() const {
    std::string text;
    for (int i = 0; i < 900; ++i) text += "word" + std::to_string(i * 7919 % 997) + " ";
    core::write_text_file(dir.file("text.txt"), text);
    PruneOptions out;
    out.texts = {{dir.file("text.txt")}};
    out.calibration = {.tokens = 512, .sequence = 32, .seed = 0};
    out.criterion = "obs";
    out.state_share = 1;
    return out;
  }
};

nlohmann::json json_file(const std::string& path) {
  return nlohmann::json::parse(core::read_text_file(path));
}

// tr W (G - G_:S (G_SS)^-1 G_S:) W^T, or what the cut columns gave.
double missing(const Tensor& w, const Tensor& gram, std::vector<std::int64_t> kept, bool refits) {
  const Tensor s = torch::tensor(kept, torch::kInt64);
  if (refits) {
    Tensor left = gram;
    if (!kept.empty())
      left = gram - gram.index_select(1, s).matmul(torch::linalg_solve(
                        gram.index_select(0, s).index_select(1, s), gram.index_select(0, s), true));
    return (w.matmul(left) * w).sum().item<double>();
  }
  Tensor cut = w.clone();
  cut.index_fill_(1, s, 0);
  return (cut.matmul(gram) * cut).sum().item<double>();
}

// KL(whole || other) where `consumer` takes the place of that of one block of layer 1.
double divergence(const Fixture& f, const arch::Block& changed, const Tensor& consumer) {
  Tensor x = f.model.layer(0, f.model.embed(f.windows));
  for (const arch::Block& block : f.model.arch().blocks) {
    const Tensor a = f.model.activation(block, 1, x);
    x = x + (&block == &changed ? a.matmul(consumer.t()) : f.model.output(block, 1, a));
  }
  for (const int l : {2, 3}) x = f.model.layer(l, x);
  const Tensor own = f.model.forward(f.windows).to(torch::kFloat64).log_softmax(-1),
               other = f.model.logits(f.model.final_norm(x)).to(torch::kFloat64).log_softmax(-1);
  return (own.exp() * (own - other)).sum(-1).mean().item<double>();
}

// W G_:S (G_SS)^-1 or W_:S in the columns S, and 0 elsewhere.
Tensor with_columns(const Tensor& w, const Tensor& gram, const std::vector<std::int64_t>& kept,
                    bool refits) {
  const Tensor s = torch::tensor(kept, torch::kInt64), rows = gram.index_select(0, s);
  const Tensor part =
      refits ? torch::linalg_solve(rows.index_select(1, s), rows.matmul(w.t()), true).t()
             : w.index_select(1, s);
  return torch::zeros_like(w).index_copy(1, s, part).to(torch::kFloat32);
}

TEST(Curves, AreWhatLeastSquaresLeaves) {
  const Fixture f;
  const torch::InferenceMode inference;
  Tensor x = f.model.embed(f.windows);
  x = f.model.layer(0, x);
  for (const bool refits : {true, false}) {
    const std::vector<plan::BlockCurve> curves =
        measure_curves({f.model, f.windows, criterion_by_name("weighted_rms"), {}, refits});
    ASSERT_EQ(curves.size(), 8u);
    Tensor at = x;  // before each block of layer 1
    for (std::size_t b = 0; b < 2; ++b) {
      const arch::Block& block = f.model.arch().blocks[b];
      const plan::BlockCurve& curve = curves[2 + b];
      ASSERT_EQ(curve.layer, 1u);
      ASSERT_EQ(curve.axis, block.axis());
      Tensor a = f.model.activation(block, 1, at);
      at = at + f.model.output(block, 1, a);
      a = (a * layerwise::inverse_rms(at)).flatten(0, 1).to(torch::kFloat64);
      Tensor gram = a.t().matmul(a);
      if (refits) gram += 1e-2 * gram.diagonal().mean() * torch::eye(gram.size(0), torch::kFloat64);
      const Tensor w = f.model.weight(block.consumer, 1).to(torch::kFloat64);
      const auto n = static_cast<std::int64_t>(curve.order.size());
      const std::int64_t unit = w.size(1) / n;
      const auto first = [&](std::int64_t s) {
        std::vector<std::int64_t> kept;
        for (std::int64_t i = 0; i < s; ++i)
          for (std::int64_t c = 0; c < unit; ++c)
            kept.push_back(curve.order[static_cast<std::size_t>(i)] * unit + c);
        return kept;
      };
      const auto left = [&](std::int64_t s) { return curve.left[static_cast<std::size_t>(s)]; };
      const double all = missing(w, gram, {}, refits),
                   half = missing(w, gram, first(n / 2), refits) / all,
                   power = std::log(left(n / 2)) / std::log(half);
      for (const std::int64_t s : {std::int64_t{0}, n / 4, n / 2, n - 1, n}) {
        // Rounding of float32 sums.
        EXPECT_NEAR(std::pow(left(s), 1 / power), missing(w, gram, first(s), refits) / all, 1e-4)
            << s << " " << refits;
      }
      // Both measurements, with the logits' rounding.
      const double gone = divergence(f, block, torch::zeros({w.size(0), w.size(1)})),
                   cut = divergence(f, block, with_columns(w, gram, first(n / 2), refits));
      EXPECT_GT(gone, 1e-3);
      EXPECT_LT(cut, gone);
      EXPECT_NEAR(curve.drop, gone, 1e-3 * gone + 1e-6);
      EXPECT_NEAR(curve.drop * left(n / 2), cut, 1e-3 * cut + 1e-6) << b << " " << refits;
    }
  }
}

TEST(Curves, AreReadAsTheyWereWritten) {
  const Fixture f;
  const std::vector<plan::BlockCurve> curves =
      measure_curves({f.model, f.windows, criterion_by_name("obs"), {}, true});
  const std::vector<plan::BlockCurve> read = curves_from_json(curves_to_json(curves), "there");
  ASSERT_EQ(read.size(), curves.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].layer, curves[i].layer);
    EXPECT_EQ(read[i].axis, curves[i].axis);
    EXPECT_EQ(read[i].drop, curves[i].drop);
    EXPECT_EQ(read[i].left, curves[i].left);
    EXPECT_EQ(read[i].order, curves[i].order);
  }
}

SequentialInput pass_of(const Fixture& f, const Tensor& windows, Compensation compensation) {
  SequentialInput out{f.model, windows, criterion_by_name("obs"), compensation, {}, {0, 1, 3},
                      {},      {}};
  for (const std::int64_t width : {64, 128, 0})
    out.sizes.push_back(support::layer_sizes(2, 2, width));
  out.sizes[1][Axis::kv_groups] = 1;
  out.judged = 3;
  return out;
}

// The stream of those windows is that of the model that the pass makes, and no weight reads them.
TEST(Trial, JudgesByWindowsThatNothingIsFittedTo) {
  const Fixture f;
  Tensor other = f.windows.clone();
  other.narrow(0, 7, 3).copy_(Fixture::random_windows(3, 8));
  for (const Compensation c : {Compensation::none, Compensation::least_squares}) {
    const SequentialResult one = prune_sequentially(pass_of(f, f.windows, c)),
                           two = prune_sequentially(pass_of(f, other, c));
    EXPECT_EQ(one.replaced.empty(), c == Compensation::none);
    ASSERT_EQ(one.replaced.size(), two.replaced.size());
    for (const auto& [key, weights] : one.replaced)
      EXPECT_TRUE(torch::equal(weights, two.replaced.at(key))) << static_cast<int>(key.first);
    EXPECT_FALSE(torch::equal(one.judged, two.judged));
    // Size 0 takes the block away.
    EXPECT_TRUE(one.layers[2][Axis::ffn].has_value() && one.layers[2][Axis::ffn]->empty());
    EXPECT_FALSE(one.layers[2][Axis::kv_groups].has_value());
    EXPECT_EQ(one.layers[1][Axis::kv_groups]->size(), 1u);
  }
  plan::PrunePlan plan;
  plan.keep_layers = {0, 1, 3};
  plan.layers = prune_sequentially(pass_of(f, f.windows, Compensation::none)).layers;
  core::write_text_file(f.dir.file("plan.json"),
                        plan::to_json(plan, f.source.arch(), f.source.dims()));
  PruneOptions options;
  options.plan_path = f.dir.file("plan.json");
  options.compensation = Compensation::none;
  prune(f.source, f.dir.file("cut"), options, {});
  const auto cut = model::Transformer::load(checkpoint::Checkpoint::open(f.dir.file("cut")), {});
  const torch::InferenceMode inference;
  const Tensor ids = f.windows.narrow(0, 7, 3);
  const double by_hand = torch::cross_entropy_loss(cut.forward(ids).narrow(1, 0, 23).flatten(0, 1),
                                                   ids.narrow(1, 1, 23).flatten())
                             .item<double>();
  EXPECT_NEAR(
      loss_of(f.model, ids, prune_sequentially(pass_of(f, f.windows, Compensation::none)).judged),
      by_hand, 1e-4);
}

TEST(Sizes, AreWithinTheTotalAndTheLeastLossDecides) {
  const Fixture f;
  PruneOptions options = f.prune_options();
  const std::int64_t whole = arch::parameters(f.source.arch(), f.source.dims()),
                     budget = whole * 8 / 10;
  options.target = {.parameters = budget};
  for (const char* criterion : {"obs", "flap"}) {
    options.criterion = criterion;
    options.compensation =
        options.criterion == "obs" ? Compensation::least_squares : Compensation::none;
    const std::string out = f.dir.file(criterion);
    const PruneResult result = prune(f.source, out, options, {});
    EXPECT_LE(result.parameters_after, budget);
    const nlohmann::json sizes = json_file(out + "/importance.json").at("sizes");
    ASSERT_GE(sizes.at("choices").size(), 2u);
    // Equal sizes have coarse steps, and may be taken all the same.
    EXPECT_GT(sizes.at("choices")[0].at("parameters").get<std::int64_t>(), budget * 9 / 10);
    double least = 1e9;
    std::string best;
    for (const nlohmann::json& choice : sizes.at("choices")) {
      EXPECT_LE(choice.at("parameters").get<std::int64_t>(), budget);
      if (choice.at("loss").get<double>() < least) {
        least = choice.at("loss").get<double>();
        best = choice.at("name").get<std::string>();
        EXPECT_TRUE(best != sizes.at("chosen") ||
                    choice.at("parameters") == result.parameters_after);
      }
    }
    EXPECT_EQ(sizes.at("chosen"), best);
    ASSERT_EQ(result.notes.size(), 1u);
    EXPECT_EQ(result.notes[0].rfind(best, 0), 0u) << result.notes[0];
    const auto pruned = checkpoint::Checkpoint::open(out);
    for (const arch::LayerDims& l : pruned.dims().layers) EXPECT_EQ(l[Axis::ffn] % 32, 0);
  }
}

TEST(Sizes, GoOnWhereTheyWereKilled) {
  const Fixture f;
  PruneOptions options = f.prune_options();
  options.target = {.sizes = {{Axis::ffn, 64}}};
  options.per_layer = true;
  prune(f.source, f.dir.file("whole"), options, {});
  const std::string broken = f.dir.file("broken");
  struct Killed {};
  EXPECT_THROW(prune(f.source, broken, options,
                     [](const core::ProgressEvent& e) {
                       if (e.stage.rfind("sizes, 2", 0) == 0 && e.done == 1) throw Killed();
                     }),
               Killed);
  EXPECT_TRUE(std::filesystem::exists(broken + "/checkpoint/curves.json"));
  options.resume = true;
  prune(f.source, broken, options, [](const core::ProgressEvent& e) {
    EXPECT_NE(e.stage, "curves");
    EXPECT_NE(e.stage.rfind("sizes, 1", 0), 0u);
  });
  for (const char* name : {"/model.safetensors", "/plan.json", "/importance.json"})
    EXPECT_EQ(core::read_text_file(broken + name),
              core::read_text_file(f.dir.file("whole") + name));
  std::int64_t total = 0;
  const auto pruned = checkpoint::Checkpoint::open(broken);
  for (const arch::LayerDims& l : pruned.dims().layers) total += l[Axis::ffn];
  EXPECT_EQ(total, 4 * 64);
}

std::string told(const std::function<void()>& run) {
  try {
    run();
  } catch (const core::Error& e) {
    return e.what();
  }
  return "nothing was refused";
}

// Scores of a file add up to what is lost. The channels of the last layer matter most here.
TEST(Sizes, FollowTheScoresOfAFile) {
  const Fixture f;
  Scores scores;
  for (int l = 0; l < 4; ++l)
    for (int i = 0; i < 128; ++i)
      scores.all[scores_name(Axis::ffn, l)].push_back(i * (l == 3 ? 10.0 : 1.0));
  write_scores(
      [&] {
        scores.all["layers"] = {1, 1, 1, 1};
        return scores;
      }(),
      f.dir.file("scores.safetensors"));
  PruneOptions options;
  options.scores_path = f.dir.file("scores.safetensors");
  options.compensation = Compensation::none;
  options.target = {.sizes = {{Axis::ffn, 64}}};
  options.per_layer = true;
  const PruneResult result = prune(f.source, f.dir.file("cut"), options, {});
  const auto dims = checkpoint::Checkpoint::open(f.dir.file("cut")).dims();
  EXPECT_EQ(dims.layers[3][Axis::ffn], 128);
  std::int64_t total = 0;
  for (const arch::LayerDims& l : dims.layers) total += l[Axis::ffn];
  EXPECT_EQ(total, 4 * 64);
  EXPECT_EQ(result.plan.layers[0][Axis::ffn]->back(), 127);
  EXPECT_EQ(check(options, f.source.arch(), f.source.dims()).layers, dims.layers);
  // Without scores of attention, no block and no layer can be judged as a whole.
  options.per_layer = false;
  options.target = {.parameters = arch::parameters(f.source.arch(), f.source.dims()) * 9 / 10};
  prune(f.source, f.dir.file("total"), options, {});
  const auto kept = checkpoint::Checkpoint::open(f.dir.file("total")).dims();
  EXPECT_EQ(kept.n_layers(), 4);
  for (const arch::LayerDims& l : kept.layers) EXPECT_EQ(l[Axis::kv_groups], 2);
  // With a text that refits, choices are compared, and what scores add up to does not matter.
  scores.all[scores_name(Axis::ffn, 2)][5] = -1;
  write_scores(scores, options.scores_path);
  PruneOptions refitted = f.prune_options();
  refitted.scores_path = options.scores_path;
  refitted.target = options.target;
  refitted.target.layers = 4;  // so that no block goes
  const PruneResult compared = prune(f.source, f.dir.file("compared"), refitted, {});
  EXPECT_LE(compared.parameters_after, *options.target.parameters);
  const nlohmann::json sizes = json_file(f.dir.file("compared") + "/importance.json").at("sizes");
  ASSERT_GE(sizes.at("choices").size(), 2u);
  for (const nlohmann::json& choice : sizes.at("choices")) EXPECT_GT(choice.at("loss"), 0);
  bool by_scores = false;
  for (const plan::LayerSelection& l : compared.plan.layers)
    if (const plan::Selection& ffn = l[Axis::ffn]; ffn && !ffn->empty()) {
      by_scores = true;
      EXPECT_EQ(ffn->back(), 127);
      EXPECT_EQ(ffn->front(), 128 - static_cast<std::int64_t>(ffn->size()));
    }
  EXPECT_TRUE(by_scores);
  const std::string refused = told([&] { check(options, f.source.arch(), f.source.dims()); });
  for (const char* part : {"scores.safetensors", "ffn.2: the score of index 5 is -1"})
    EXPECT_NE(refused.find(part), std::string::npos) << refused;
}

TEST(Sizes, AreRefusedWhereNothingScoresThem) {
  const Fixture f;
  PruneOptions options = f.prune_options();
  options.criterion = "perplexity";
  options.target = {.parameters = arch::parameters(f.source.arch(), f.source.dims()) * 9 / 10};
  EXPECT_NE(told([&] {
              check(options, f.source.arch(), f.source.dims());
            }).find("criterion 'perplexity' does not score this axis"),
            std::string::npos);
  options.criterion = "obs";
  options.target.parameters = 1000;
  EXPECT_NE(told([&] {
              check(options, f.source.arch(), f.source.dims());
            }).find("--parameters 1000: cannot be reached"),
            std::string::npos);
  options.target.parameters = 100'000'000;
  EXPECT_NE(told([&] {
              check(options, f.source.arch(), f.source.dims());
            }).find("nothing would be cut, for the model has only"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier::prune
