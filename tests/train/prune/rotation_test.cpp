// SPDX-License-Identifier: Apache-2.0
// A turned stream: the same function in every family that lets a rotation pass, exact where what is
// cut is zero, refused elsewhere. Plans say that their indices are directions.
#include "prune/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "model/transformer.h"
#include "prune/criterion.h"
#include "support/golden_models.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::prune {
namespace {

using arch::Role;
using checkpoint::Checkpoint;
using torch::Tensor;

double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

Tensor ids_of(const support::GoldenModel& golden) {
  Tensor out;
  for (const auto& sequence : golden.sequences) {
    const Tensor row =
        torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end())).view({1, -1});
    out = out.defined() ? torch::cat({out, row}) : row;
  }
  return out;
}

Tensor logits(const Checkpoint& source, const Tensor& ids) {
  const torch::NoGradGuard no_grad;
  return model::Transformer::load(source, {}).forward(ids);
}

Checkpoint turned(const Checkpoint& source, const Tensor& ids, const std::string& out) {
  write_turned(source, principal_directions(model::Transformer::open(source), ids, {}).basis, out,
               {});
  return Checkpoint::open(out);
}

// Projects what writes to the stream on `rank` random directions, all but a share of `rest`.
void flatten_stream(model::Transformer& model, std::int64_t rank, double rest = 0) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(11);
  const std::int64_t hidden = model.dims().hidden;
  const Tensor q = std::get<0>(torch::linalg_qr(torch::randn({hidden, rank}))),
               onto = q.matmul(q.t()) * (1 - rest) + torch::eye(hidden) * rest;
  const auto project = [&](Role role, int layer) {
    if (model.has(role, layer))
      model.set_weight(role, layer, onto.matmul(model.weight(role, layer)).contiguous());
  };
  model.set_weight(Role::token_embd, -1, model.weight(Role::token_embd, -1).matmul(onto));
  for (int l = 0; l < static_cast<int>(model.dims().n_layers()); ++l)
    for (const arch::Block& block : model.arch().blocks) {
      project(block.consumer, l);
      if (const auto bias = arch::bias_of(block.consumer)) project(*bias, l);
    }
}

// Half of the channels, or fewer where readers take no such number.
std::int64_t about_half(const Checkpoint& source) {
  arch::ModelDims dims = source.dims();
  dims.tied = false;
  for (dims.hidden /= 2; dims.hidden > 3 && !checkpoint::has_hf_form(source.arch(), dims);)
    --dims.hidden;
  return dims.hidden;
}

Checkpoint cut_to(const Checkpoint& source, std::int64_t channels, bool scaled,
                  const std::string& out) {
  plan::PrunePlan plan = plan::keep_all(source.dims());
  plan.hidden.emplace(static_cast<std::size_t>(channels));
  std::iota(plan.hidden->begin(), plan.hidden->end(), 0);
  surgery::Replacement replacement;
  const double factor =
      std::sqrt(static_cast<double>(source.dims().hidden) / static_cast<double>(channels));
  if (scaled) replacement.adjust = scale_stream(source.arch(), factor);
  surgery::prune_checkpoint(source, plan, out, {}, replacement, {});
  return Checkpoint::open(out);
}

TEST(Rotation, ChangesNothingInAnyFamilyThatLetsItPass) {
  const support::TempDir dir;
  std::set<std::string_view> passes, refuses;
  for (const char* name : support::kGoldenModels) {
    const support::GoldenModel golden = support::golden_model(name);
    const Checkpoint source = Checkpoint::open(golden.directory);
    try {
      require_turnable(source.arch(), source.dims());
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_NE(std::string(e.what()).find(source.arch().name), std::string::npos) << e.what();
      refuses.insert(source.arch().name);
      continue;
    }
    passes.insert(source.arch().name);
    const Tensor ids = ids_of(golden), exact = logits(source, ids);
    const Checkpoint same = turned(source, ids, dir.file(name));
    EXPECT_LT(distance(logits(same, ids), exact), 2e-4) << name;
    EXPECT_FALSE(same.dims().tied) << name;
    const std::vector<float> gain = same.read(Role::output_norm, -1);
    EXPECT_EQ(std::set<float>(gain.begin(), gain.end()), std::set<float>{1.0f}) << name;
    EXPECT_NE(same.read(Role::token_embd, -1), source.read(Role::token_embd, -1)) << name;
  }
  // openelm ties its output matrix, or has one of its own.
  EXPECT_EQ(passes, (std::set<std::string_view>{"llama", "mistral", "smollm3", "granite",
                                                "granitemoehybrid", "qwen2", "qwen3", "phi3",
                                                "deci", "openelm"}));
  EXPECT_EQ(refuses,
            (std::set<std::string_view>{"gemma2", "gemma3", "nemotron", "gpt2", "openelm"}));
}

// The stream of these models has half as many directions as channels. So the other half can go.
TEST(Rotation, CuttingWhatIsZeroIsExactInEveryFamily) {
  const support::TempDir dir;
  int models = 0;
  for (const char* name :
       {"tied", "llama_biases", "mistral_window", "smollm3_a", "granite_a", "granite4_b", "qwen2_a",
        "qwen3_a", "phi3_window", "deci_a", "openelm_b"}) {
    const support::GoldenModel golden = support::golden_model(name);
    const Checkpoint whole = Checkpoint::open(golden.directory);
    const std::int64_t half = about_half(whole);
    ASSERT_GT(half, 3) << name;
    model::Transformer flat = model::Transformer::load(whole, {});
    flatten_stream(flat, half);
    const std::string path = dir.file(name);
    flat.save(path, whole, {});
    const Checkpoint source = Checkpoint::open(path);
    const Tensor ids = ids_of(golden), exact = logits(source, ids);
    const Checkpoint same = turned(source, ids, path + "-turned");
    const Checkpoint cut = cut_to(same, half, true, path + "-cut");
    ASSERT_EQ(cut.dims().hidden, half) << name;
    EXPECT_LT(distance(logits(cut, ids), exact), 1e-3) << name;
    // Controls: norms that divide by the mean of fewer channels, and channels as they were.
    EXPECT_GT(distance(logits(cut_to(same, half, false, path + "-bare"), ids), exact), 0.05)
        << name;
    EXPECT_GT(distance(logits(cut_to(source, half, true, path + "-other"), ids), exact), 0.05)
        << name;
    ++models;
  }
  EXPECT_EQ(models, 11);
}

// A model whose stream has half of its directions, and a little of the others.
struct Fixture {
  support::TempDir dir;
  Checkpoint source = [this] {
    const Checkpoint whole = Checkpoint::open(support::write_tiny_llama(
        dir.file("whole-model"),
        {.hidden = 64, .layers = 3, .kv_groups = 2, .head_dim = 16, .ffn = 96}));
    model::Transformer flat = model::Transformer::load(whole, {});
    flatten_stream(flat, 32, 0.1);
    flat.save(dir.file("model"), whole, {});
    return Checkpoint::open(dir.file("model"));
  }();
  // Of a text that nothing is fitted to.
  Tensor ids = [this] {
    const std::vector<std::int32_t> tokens = text::Tokenizer(source.tokenizer()).encode(words(577));
    return torch::tensor(std::vector<std::int64_t>(tokens.begin(), tokens.begin() + 512))
        .view({8, 64});
  }();
  Fixture() { core::write_text_file(dir.file("text.txt"), words(31)); }
  static std::string words(int step) {
    std::string out;
    for (int i = 0; i < 3000; ++i)
      out += "word" + std::to_string(i * i % 997 * step % 997) + (i % 9 ? " " : ".\n");
    return out;
  }
  PruneOptions options(std::int64_t hidden, Compensation compensation) const {
    PruneOptions out;
    out.target.hidden = hidden;
    out.criterion = "pca";
    out.compensation = compensation;
    out.texts = {{dir.file("text.txt")}};
    out.calibration = {.tokens = 2048, .sequence = 64, .seed = 0};
    return out;
  }
  double divergence(const std::string& out) const {
    const Tensor p = torch::log_softmax(logits(source, ids), -1),
                 q = torch::log_softmax(logits(Checkpoint::open(out), ids), -1);
    return (p.exp() * (p - q)).sum(-1).mean().item<double>();
  }
};

TEST(Rotation, PruneTurnsAndCuts) {
  const Fixture f;
  const auto run = [&](const char* name, std::int64_t hidden, Compensation compensation) {
    return prune(f.source, f.dir.file(name), f.options(hidden, compensation), {});
  };
  const PruneResult whole = run("whole", 64, Compensation::least_squares);
  EXPECT_LT(distance(logits(Checkpoint::open(f.dir.file("whole")), f.ids), logits(f.source, f.ids)),
            2e-4);
  EXPECT_EQ(whole.parameters_after, whole.parameters_before + 320 * 64);  // an output matrix
  const PruneResult cut = run("cut", 32, Compensation::none);
  ASSERT_TRUE(cut.plan.hidden.has_value());
  EXPECT_EQ(cut.plan.hidden->size(), 32u);
  EXPECT_EQ(cut.plan.hidden->back(), 31);
  EXPECT_EQ(cut.notes.size(), 2u);
  const Checkpoint out = Checkpoint::open(f.dir.file("cut"));
  EXPECT_EQ(out.dims(), check(f.options(32, Compensation::none), f.source.arch(), f.source.dims()));
  EXPECT_EQ(arch::parameters(out.arch(), out.dims()), cut.parameters_after);
  run("fit", 32, Compensation::least_squares);
  EXPECT_FALSE(std::filesystem::exists(f.dir.file("fit") + "/checkpoint"));
  PruneOptions channels = f.options(32, Compensation::none);
  channels.criterion = "activation_rms";
  prune(f.source, f.dir.file("channels"), channels, {});
  const double alone = f.divergence(f.dir.file("cut"));
  EXPECT_LT(alone, 0.2 * f.divergence(f.dir.file("channels")));
  EXPECT_LT(f.divergence(f.dir.file("fit")), 0.9 * alone);
}

TEST(Rotation, GoesWithLayersAndAVocabulary) {
  const Fixture f;
  PruneOptions options = f.options(32, Compensation::merge);
  options.target.layers = 2;
  options.target.vocab = 310;
  options.vocab.emplace(310);
  std::iota(options.vocab->begin(), options.vocab->end(), 0);
  const PruneResult result = prune(f.source, f.dir.file("out"), options, {});
  const Checkpoint out = Checkpoint::open(f.dir.file("out"));
  EXPECT_EQ(out.dims().n_layers(), 2);
  EXPECT_EQ(out.dims().hidden, 32);
  EXPECT_EQ(out.dims().vocab, 310);
  EXPECT_EQ(arch::parameters(out.arch(), out.dims()), result.parameters_after);
  const std::vector<float> gain = out.read(Role::ffn_norm, 1);
  for (const float g : gain) EXPECT_FLOAT_EQ(g, std::sqrt(2.0f));
}

// The sizes of layers are given, so layers go.
TEST(Rotation, ATotalIsMetByLayersAlone) {
  const Fixture f;
  PruneOptions options = f.options(32, Compensation::none);
  options.target.sizes[arch::Axis::ffn] = 96;
  options.target.layers = 2;
  const arch::ModelDims two = check(options, f.source.arch(), f.source.dims());
  options.target.layers.reset();
  options.target.parameters = arch::parameters(f.source.arch(), two);
  EXPECT_EQ(check(options, f.source.arch(), f.source.dims()), two);
  const PruneResult result = prune(f.source, f.dir.file("out"), options, {});
  EXPECT_EQ(result.plan.keep_layers.size(), 2u);
  EXPECT_EQ(result.parameters_after, *options.target.parameters);
  const std::vector<float> gain = Checkpoint::open(f.dir.file("out")).read(Role::output_norm, -1);
  for (const float g : gain) EXPECT_FLOAT_EQ(g, std::sqrt(2.0f));
}

TEST(Rotation, GoesOnWhereItWasKilled) {
  const Fixture f;
  PruneOptions options = f.options(32, Compensation::least_squares);
  options.state_share = 1;
  const std::string whole = f.dir.file("whole"), broken = f.dir.file("broken");
  prune(f.source, whole, options, {});
  struct Killed {};
  for (const char* stage : {"directions", "turn", "prune"}) {
    options.resume = false;
    EXPECT_THROW(prune(f.source, broken, options,
                       [&](const core::ProgressEvent& e) {
                         if (e.stage == stage && e.unit != "" && e.done == 2) throw Killed();
                       }),
                 Killed)
        << stage;
    options.resume = true;
    std::set<std::string> stages;
    prune(f.source, broken, options, [&](const core::ProgressEvent& e) { stages.insert(e.stage); });
    EXPECT_EQ(stages.contains("directions"), std::string(stage) != "prune");
    for (const char* file : {"/model.safetensors", "/plan.json", "/config.json"})
      EXPECT_EQ(core::read_text_file(broken + file), core::read_text_file(whole + file)) << stage;
    EXPECT_FALSE(std::filesystem::exists(broken + "/checkpoint"));
  }
}

void refused(core::ErrorKind kind, const std::vector<std::string>& parts,
             const std::function<void()>& run) {
  try {
    run();
    ADD_FAILURE() << parts[0];
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

// A plan does not hold the directions. That of the turned model is a plan like any other.
TEST(Rotation, PlansOfDirectionsAreRefused) {
  const Fixture f;
  PruneOptions options = f.options(32, Compensation::none);
  prune(f.source, f.dir.file("cut"), options, {});
  const std::string path = f.dir.file("cut") + "/plan.json";
  const plan::PrunePlan plan =
      plan::prune_plan_from_json(core::read_text_file(path), f.source.dims(), path);
  EXPECT_EQ(plan.basis, "pca");
  EXPECT_EQ(plan.source_sha256, f.source.sha256());
  PruneOptions planned;
  planned.compensation = Compensation::none;
  planned.plan_path = path;
  refused(core::ErrorKind::input, {"plan.json: hidden", "pca", "turn the model first"},
          [&] { prune(f.source, f.dir.file("no"), planned, {}); });

  options.target.hidden = 64;
  prune(f.source, f.dir.file("whole"), options, {});
  const Checkpoint whole = Checkpoint::open(f.dir.file("whole"));
  core::write_text_file(f.dir.file("plan.json"), R"({"keep_layers": "all", "hidden": ["0-31"]})");
  planned.plan_path = f.dir.file("plan.json");
  EXPECT_NO_THROW(prune(whole, f.dir.file("again"), planned, {}));
}

TEST(Rotation, RefusesWhatItCannotDo) {
  const Fixture f;
  PruneOptions options = f.options(32, Compensation::none);
  options.target.hidden.reset();
  options.target.layers = 2;
  const auto check_options = [&] { check(options, f.source.arch(), f.source.dims()); };
  refused(core::ErrorKind::usage, {"pca", "hidden"}, check_options);
  options = f.options(32, Compensation::none);
  options.target.sizes[arch::Axis::ffn] = 64;
  refused(core::ErrorKind::usage, {"pca", "ffn"}, check_options);
  options.per_layer = true;
  refused(core::ErrorKind::usage, {"pca", "ffn"}, check_options);
  options = f.options(32, Compensation::none);
  options.target.parameters =
      arch::parameters(f.source.arch(), check(options, f.source.arch(), f.source.dims())) - 1;
  refused(core::ErrorKind::usage, {"pca", "ffn 64"}, check_options);
  refused(core::ErrorKind::usage, {"pca", "file of scores"}, [&] {
    score(f.source, {{{f.dir.file("text.txt")}}, "pca", f.dir.file("s.safetensors"), {}}, {});
  });
  options = f.options(32, Compensation::none);
  const arch::Arch& gemma = *arch::arch_by_name("gemma2");
  refused(core::ErrorKind::unsupported, {"gemma2", "attn_post_norm", "activation"},
          [&] { check(options, gemma, f.source.dims()); });
}

}  // namespace
}  // namespace espalier::prune
