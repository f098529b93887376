// SPDX-License-Identifier: Apache-2.0
// Criteria of layers and blocks against passes by hand, greedy elimination against brute force of
// every round, and what a pruning run makes of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/rng.h"
#include "plan/prune_plan.h"
#include "prune/choose.h"
#include "prune/criterion.h"
#include "prune/pruner.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::prune {
namespace {

using arch::Axis;
using arch::Role;
using torch::Tensor;

constexpr int kLayers = 5;

// The stream before each layer and behind the last one, with the layers `kept` alone.
std::vector<Tensor> streams_of(const model::Transformer& model, const Tensor& windows,
                               const std::vector<int>& kept) {
  const torch::InferenceMode inference;
  std::vector<Tensor> out{model.embed(windows)};
  for (const int l : kept) out.push_back(model.layer(l, out.back()));
  return out;
}
double loss_of(const model::Transformer& model, const Tensor& windows,
               const std::vector<int>& kept) {
  const torch::InferenceMode inference;
  const Tensor logits =
      model.logits(model.final_norm(streams_of(model, windows, kept).back())).to(torch::kFloat64);
  const Tensor p = torch::log_softmax(logits.narrow(1, 0, 23), -1);
  return -p.gather(2, windows.narrow(1, 1, 23).unsqueeze(2)).mean().item<double>();
}

struct Fixture {
  support::TempDir dir;
  support::TinyOptions options{.hidden = 32,
                               .layers = kLayers,
                               .kv_groups = 1,
                               .q_per_kv = 2,
                               .head_dim = 8,
                               .ffn = 64,
                               .vocab = 320};
  std::string directory = support::write_tiny_llama(dir.file("model"), options);
  model::Transformer model = model::Transformer::load(checkpoint::Checkpoint::open(directory), {});
  Tensor windows = [] {
    Tensor ids = torch::empty({7, 24}, torch::kInt64);
    core::Rng rng(2);
    auto* id = ids.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      id[i] = static_cast<std::int64_t>(rng.below(320));
    return ids;
  }();
  layerwise::WalkOptions walk = {.batch_tokens = 48};

  std::vector<double> scores(const char* name, std::int64_t drop = 0) const {
    Scores out;
    score_layers(criterion_by_name(name), {model, windows, walk, 0, drop}, out);
    return out.of_layers(drop);
  }
  std::vector<Tensor> streams(const std::vector<int>& kept) const {
    return streams_of(model, windows, kept);
  }
  double loss(const std::vector<int>& kept) const { return loss_of(model, windows, kept); }
};

std::vector<int> all() {
  std::vector<int> out(kLayers);
  std::iota(out.begin(), out.end(), 0);
  return out;
}
std::vector<int> but(std::vector<int> kept, int layer) {
  std::erase(kept, layer);
  return kept;
}
// The layers that go.
std::vector<int> dropped(const std::vector<double>& scores, int n) {
  std::vector<int> out = all();
  for (const std::int64_t l : keep_highest(scores, kLayers - n))
    std::erase(out, static_cast<int>(l));
  return out;
}

TEST(LayerCriteria, InfluenceAndMagnitude) {
  const Fixture f;
  const std::vector<double> influence = f.scores("block_influence"),
                            magnitude = f.scores("relative_magnitude");
  const std::vector<Tensor> x = f.streams(all());
  ASSERT_EQ(influence.size(), 5u);
  for (std::size_t l = 0; l < kLayers; ++l) {
    const Tensor in = x[l].to(torch::kFloat64), out = x[l + 1].to(torch::kFloat64);
    const Tensor cosine = (in * out).sum(-1) / in.norm(2, -1) / out.norm(2, -1);
    EXPECT_NEAR(influence[l], 1 - cosine.mean().item<double>(), 1e-5);
    EXPECT_NEAR(magnitude[l], ((out - in).norm(2, -1) / out.norm(2, -1)).mean().item<double>(),
                1e-5);
  }
}

TEST(LayerCriteria, TheSmallestAngleOfSuccessiveLayersGoes) {
  const Fixture f;
  const std::vector<Tensor> x = f.streams(all());
  const auto angle = [&](std::size_t from, std::size_t to) {
    const Tensor a = x[from].select(1, -1).to(torch::kFloat64),
                 b = x[to].select(1, -1).to(torch::kFloat64);
    return ((a * b).sum(-1) / a.norm(2, -1) / b.norm(2, -1)).acos().mean().item<double>() /
           std::numbers::pi;
  };
  for (std::size_t n = 1; n < kLayers; ++n) {
    std::size_t best = 0;
    for (std::size_t l = 1; l + n <= kLayers; ++l)
      if (angle(l, l + n) < angle(best, best + n)) best = l;
    std::vector<int> expected(n);
    std::iota(expected.begin(), expected.end(), static_cast<int>(best));
    const std::vector<double> scores = f.scores("angular_distance", static_cast<std::int64_t>(n));
    EXPECT_EQ(dropped(scores, static_cast<int>(n)), expected) << n;
    EXPECT_NEAR(scores[best], angle(best, best + n), 1e-6);
  }
}

TEST(LayerCriteria, PerplexityIsThatOfTheModelWithoutTheLayer) {
  const Fixture f;
  const std::vector<double> found = f.scores("perplexity");
  for (int l = 0; l < kLayers; ++l)
    EXPECT_NEAR(found[static_cast<std::size_t>(l)], f.loss(but(all(), l)) - f.loss(all()), 5e-5);
  // Also of a model that is read layer by layer.
  const auto source = checkpoint::Checkpoint::open(f.directory);
  const model::Transformer opened = model::Transformer::open(source);
  Scores of_opened;
  score_layers(criterion_by_name("perplexity"), {opened, f.windows, f.walk}, of_opened);
  EXPECT_EQ(of_opened.at("layers"), found);
}

TEST(LayerCriteria, GreedyIsBruteForceOfEveryRound) {
  const Fixture f;
  std::vector<int> kept = all(), gone;
  for (int n = 1; n < kLayers; ++n) {
    const int best = *std::min_element(kept.begin(), kept.end(), [&](int a, int b) {
      return f.loss(but(kept, a)) < f.loss(but(kept, b));
    });
    kept = but(kept, best);
    gone.insert(std::upper_bound(gone.begin(), gone.end(), best), best);
    EXPECT_EQ(dropped(f.scores("perplexity_greedy", n), n), gone) << n;
    EXPECT_EQ(dropped(f.scores("perplexity_greedy"), n), gone) << n;  // of an order for any number
  }
}

TEST(LayerCriteria, ALayerThatDoesNothingGoesFirst) {
  Fixture f;
  torch::NoGradGuard no_grad;
  f.model.weight(Role::attn_output, 3).zero_();
  f.model.weight(Role::ffn_down, 3).zero_();
  int judged = 0;
  for (const Criterion* c : all_criteria()) {
    if (c->layers == nullptr || c->name == "random") continue;
    ++judged;
    const std::vector<double> scores = f.scores(std::string(c->name).c_str());
    ASSERT_EQ(scores.size(), 5u);
    for (const double v : scores) EXPECT_TRUE(std::isfinite(v)) << c->name;
    if (c->name == "perplexity") {  // a layer of random weights may do harm
      EXPECT_EQ(scores[3], 0);
    } else if (c->name != "perplexity_greedy") {
      EXPECT_EQ(dropped(scores, 1), std::vector<int>{3}) << c->name;
    }
  }
  EXPECT_EQ(judged, 5);
}

// The loss with the blocks whose bit is set: bit 2 l is the attention of layer l, the next its FFN.
double loss_of_blocks(const Fixture& f, unsigned kept) {
  const torch::InferenceMode inference;
  model::Transformer model = f.model;
  for (int l = 0; l < kLayers; ++l)  // a block without its consumer adds nothing
    for (const bool ffn : {false, true})
      if ((kept >> (2 * l + ffn) & 1u) == 0) {
        const Role consumer = ffn ? Role::ffn_down : Role::attn_output;
        model.set_weight(consumer, l, torch::zeros_like(f.model.weight(consumer, l)));
      }
  return loss_of(model, f.windows, all());
}

TEST(BlockCriteria, PerplexityAndItsGreedyOrderAreBruteForce) {
  const Fixture f;
  constexpr unsigned kAll = (1u << 2 * kLayers) - 1;
  const auto scores = [&](const char* name, std::int64_t drop) {
    Scores out;
    score_layers(criterion_by_name(name), {f.model, f.windows, f.walk, 0, drop}, out);
    std::vector<double> flat;
    for (std::size_t l = 0; l < kLayers; ++l)
      for (const char* kind : {"blocks.attention", "blocks.ffn"})
        flat.push_back(out.at(kind).at(l));
    return flat;
  };
  const std::vector<double> alone = scores("block_perplexity", 0);
  for (unsigned i = 0; i < 2 * kLayers; ++i)
    EXPECT_NEAR(alone[i], loss_of_blocks(f, kAll & ~(1u << i)) - loss_of_blocks(f, kAll), 5e-5);
  unsigned kept = kAll;
  for (int n = 1; n <= 3; ++n) {
    unsigned best = 0;
    double least = 1e9;
    for (unsigned i = 0; i < 2 * kLayers; ++i) {
      if ((kept >> i & 1u) == 0) continue;
      const double loss = loss_of_blocks(f, kept & ~(1u << i));
      if (loss < least) std::tie(least, best) = std::pair(loss, i);
    }
    kept &= ~(1u << best);
    unsigned stay = 0;
    for (const std::int64_t i : keep_highest(scores("block_perplexity_greedy", n), 2 * kLayers - n))
      stay |= 1u << i;
    EXPECT_EQ(stay, kept) << n;
  }
}

std::string text_file(const Fixture& f) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "word" + std::to_string(i * 7919 % 997) + " ";
  core::write_text_file(f.dir.file("text.txt"), text);
  return f.dir.file("text.txt");
}
PruneOptions options_of(const Fixture& f) {
  PruneOptions out;
  out.texts = {{text_file(f)}};
  out.calibration = {.tokens = 256, .sequence = 32, .seed = 0};
  return out;
}

std::string told(const std::function<void()>& run) {
  try {
    run();
  } catch (const core::Error& e) {
    return e.what();
  }
  return "nothing was refused";
}

TEST(LayerCriteria, DecideWhatAPruningDrops) {
  const Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  PruneOptions options = options_of(f);
  options.target = {.layers = 3, .sizes = {{Axis::ffn, 32}}};
  options.state_share = 1;
  for (const Criterion* c : all_criteria()) {
    if (c->layers == nullptr) continue;
    const std::string name(c->name), out = f.dir.file(name), file = out + ".safetensors";
    // Beside a criterion of the channels, which is scored in the pass or before it.
    options.scores_path.clear();
    options.criterion = name == "perplexity" ? "flap" : "wanda_sp";
    options.layer_criterion = name;
    const plan::PrunePlan plan = prune(source, out, options, {}).plan;
    EXPECT_NE(core::read_text_file(out + "/importance.json").find("\"layer_criterion\": \"" + name),
              std::string::npos);
    // The scores in a file drop the same layers.
    score(source, {options.texts, name, file, options.calibration}, {});
    options.scores_path = file;
    options.target.sizes = {};
    EXPECT_EQ(prune(source, out + "-2", options, {}).plan.keep_layers, plan.keep_layers) << name;
    options.target.sizes = {{Axis::ffn, 32}};
    if (c->score == nullptr) {
      const std::string message = told([&] { prune(source, out + "-3", options, {}); });
      EXPECT_NE(message.find(file + ": there are no scores of ffn."), std::string::npos) << message;
    }
  }
  options.scores_path.clear();
  options.layer_criterion = "obs";
  const std::string message = told([&] { check(options, source.arch(), source.dims()); });
  EXPECT_NE(message.find("'obs' does not score whole layers; choose among random, block_influence"),
            std::string::npos)
      << message;
}

TEST(BlockCriteria, DecideWhatAPruningDrops) {
  const Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  PruneOptions options = options_of(f);
  for (const char* criterion : {"block_perplexity_greedy", "random"})
    for (const Compensation compensation : {Compensation::none, Compensation::least_squares}) {
      const std::string out = f.dir.file(std::string(criterion) +
                                         (compensation == Compensation::none ? "-cut" : "-fit"));
      options.blocks = 6;
      options.criterion = criterion;
      options.compensation = compensation;
      options.scores_path.clear();
      const PruneResult result = prune(source, out, options, {});
      const auto pruned = checkpoint::Checkpoint::open(out);
      int blocks = 0;
      for (const arch::LayerDims& l : pruned.dims().layers) {
        blocks += (l[Axis::ffn] > 0) + (l[Axis::kv_groups] > 0);
        EXPECT_TRUE(l[Axis::ffn] > 0 || l[Axis::kv_groups] > 0);
      }
      EXPECT_EQ(blocks, 6);
      EXPECT_EQ(arch::parameters(pruned.arch(), pruned.dims()), result.parameters_after);
      const arch::ModelDims most =
          plan::dims_after(largest_blocks(source.arch(), source.dims(), 6), source.dims());
      EXPECT_GE(arch::parameters(source.arch(), most), result.parameters_after);
      EXPECT_LT(arch::parameters(source.arch(), most),
                arch::parameters(source.arch(), source.dims()));
      score(source, {options.texts, criterion, out + ".safetensors", options.calibration}, {});
      options.scores_path = out + ".safetensors";
      const plan::PrunePlan again = prune(source, out + "-2", options, {}).plan;
      EXPECT_EQ(plan::to_json(again, source.arch(), source.dims()),
                plan::to_json(result.plan, source.arch(), source.dims()));
    }
  options.scores_path.clear();
  options.criterion = "wanda_sp";
  const auto refusal = [&] { return told([&] { check(options, source.arch(), source.dims()); }); };
  EXPECT_NE(refusal().find("blocks 6: criterion 'wanda_sp' does not score blocks; choose among "
                           "random, block_perplexity"),
            std::string::npos)
      << refusal();
  for (const std::int64_t bad : {0, 10}) {
    options.blocks = bad;
    EXPECT_NE(refusal().find("the model has 10 attention and FFN blocks"), std::string::npos);
  }
}

// Killed while it cuts and started again: the layers are not scored again.
TEST(LayerCriteria, AreKeptForARunThatWasKilled) {
  const Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  PruneOptions options = options_of(f);
  options.target = {.layers = 3, .sizes = {{Axis::ffn, 32}}};
  options.layer_criterion = "perplexity_greedy";
  options.state_share = 1;
  prune(source, f.dir.file("whole"), options, {});
  struct Killed {};
  EXPECT_THROW(prune(source, f.dir.file("broken"), options,
                     [](const core::ProgressEvent& e) {
                       if (e.stage == "prune" && e.done == 2) throw Killed();
                     }),
               Killed);
  options.resume = true;
  prune(source, f.dir.file("broken"), options,
        [](const core::ProgressEvent& e) { EXPECT_NE(e.stage, "parts left out"); });
  for (const char* name : {"/model.safetensors", "/plan.json", "/importance.json"})
    EXPECT_EQ(core::read_text_file(f.dir.file("broken") + name),
              core::read_text_file(f.dir.file("whole") + name));
}

TEST(LayerCriteria, ACriterionThatAssumesARefitSaysSo) {
  const Fixture f;
  const auto source = checkpoint::Checkpoint::open(f.directory);
  PruneOptions options = options_of(f);
  options.target = {.sizes = {{Axis::ffn, 32}}};
  options.compensation = Compensation::none;
  const auto noted = [&](const char* criterion) {
    options.criterion = criterion;
    prune(source, f.dir.file("out"), options, {});
    const std::vector<std::string> notes = core::notes();
    return std::any_of(notes.begin(), notes.end(), [&](const std::string& note) {
      return note.find(std::string("'") + criterion + "' ranks by what is left") !=
             std::string::npos;
    });
  };
  EXPECT_FALSE(noted("wanda_sp"));
  EXPECT_TRUE(noted("obs"));
  EXPECT_TRUE(noted("flap"));
}

}  // namespace
}  // namespace espalier::prune
