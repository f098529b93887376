// SPDX-License-Identifier: Apache-2.0
// Least squares over everything that can go: FFN channels, KV groups, query heads of a group, the
// stream, whole blocks and layers. It follows the teacher better than the cut alone, on text that
// the fit did not see, and a plan that keeps all changes no bit.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "model/transformer.h"
#include "plan/prune_plan.h"
#include "prune/pruner.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"
#include "surgery/merge.h"

namespace espalier::prune {
namespace {

struct Fixture {
  support::TempDir dir;
  std::string directory = support::write_tiny_llama(
      dir.file("model"),
      {.hidden = 64, .layers = 4, .kv_groups = 2, .q_per_kv = 2, .head_dim = 16, .ffn = 96});
  checkpoint::Checkpoint source = checkpoint::Checkpoint::open(directory);
  model::Transformer model = model::Transformer::load(source, {});
  // Other words in the order of the calibration text's.
  torch::Tensor other = [this] {
    const std::vector<std::int32_t> ids =
        text::Tokenizer(source.tokenizer()).encode(words(600, 577));
    return torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.begin() + 1024)).view({16, 64});
  }();

  static std::string words(int n, int step) {
    std::string out;
    for (int i = 0; i < n; ++i)
      out += "word" + std::to_string(i * i % 997 * step % 997) + (i % 9 ? " " : ".\n");
    return out;
  }
  Fixture() { core::write_text_file(dir.file("text.txt"), words(4000, 31)); }
  std::string pruned(const std::string& plan, Compensation compensation) const {
    core::write_text_file(dir.file("plan.json"), plan);
    PruneOptions options;
    options.plan_path = dir.file("plan.json");
    options.compensation = compensation;
    options.texts = {{dir.file("text.txt")}};
    options.calibration = {.tokens = 4096, .sequence = 64, .seed = 0};
    const std::string out = dir.file("out");
    std::filesystem::remove_all(out);
    prune(source, out, options, {});
    return out;
  }
  double distance(const std::string& directory_of) const {
    const torch::NoGradGuard no_grad;
    const auto student = model::Transformer::load(checkpoint::Checkpoint::open(directory_of), {});
    const torch::Tensor p = torch::log_softmax(model.forward(other), -1),
                        q = torch::log_softmax(student.forward(other), -1);
    return (p.exp() * (p - q)).sum(-1).mean().item<double>();
  }
};

std::string plan_of(const std::string& layer, const std::string& more = "") {
  return R"({"keep_layers": "all", "layers": [)" + layer + ", " + layer + ", " + layer + ", " +
         layer + "]" + more + "}";
}

TEST(Compensation, EveryAxisIsMadeUpFor) {
  const Fixture f;
  const std::map<std::string, std::string> plans{
      {"ffn", plan_of(R"({"ffn": ["0-63"]})")},
      {"kv_groups", plan_of(R"({"kv_groups": [1]})")},
      {"q_per_kv", plan_of(R"({"q_per_kv": [1]})")},
      {"kv_groups and q_per_kv", plan_of(R"({"kv_groups": [0], "q_per_kv": [1]})")},
      {"hidden", plan_of("{}", R"(, "hidden": ["0-47"])")},
      {"layers", R"({"keep_layers": [0, 2, 3], "layers": [{}, {}, {}]})"},
      {"a block", R"({"keep_layers": "all", "layers": [{}, {"ffn": []}, {"kv_groups": []}, {}]})"}};
  ASSERT_EQ(plans.size(), 7u);
  for (const auto& [name, plan] : plans) {
    const double cut = f.distance(f.pruned(plan, Compensation::none)),
                 refitted = f.distance(f.pruned(plan, Compensation::least_squares));
    EXPECT_LT(refitted, 0.95 * cut) << name;
  }
}

TEST(Compensation, KeepingAllChangesNoBit) {
  const Fixture f;
  for (const Compensation compensation : {Compensation::bias, Compensation::least_squares}) {
    const auto out = checkpoint::Checkpoint::open(f.pruned(plan_of("{}"), compensation));
    ASSERT_EQ(out.dims(), f.source.dims());
    for (const arch::TensorRef& t : arch::tensors(out.arch(), out.dims()))
      EXPECT_EQ(out.read(t.spec->role, t.layer), f.source.read(t.spec->role, t.layer))
          << t.spec->hf;
  }
}

// Whether a plan or scores decide, a plan's layers are merged as surgery does it, and without a
// text where nothing is scored.
TEST(Compensation, MergesWhatAPlanOrScoresDrop) {
  const Fixture f;
  PruneOptions options;
  options.target.layers = 2;
  options.compensation = Compensation::merge;
  options.texts = {{f.dir.file("text.txt")}};
  options.calibration = {.tokens = 1024, .sequence = 64, .seed = 0};
  const plan::PrunePlan plan = prune(f.source, f.dir.file("scored"), options, {}).plan;
  ASSERT_EQ(plan.keep_layers.size(), 2u);
  surgery::prune_checkpoint(f.source, plan, f.dir.file("wanted"), {},
                            surgery::merge_dropped(f.source, plan), {});
  options.target = {};
  options.texts = {};
  options.plan_path = f.dir.file("scored") + "/plan.json";
  prune(f.source, f.dir.file("planned"), options, {});
  const std::string wanted = core::read_text_file(f.dir.file("wanted") + "/model.safetensors");
  for (const char* out : {"scored", "planned"})
    EXPECT_EQ(core::read_text_file(f.dir.file(out) + "/model.safetensors"), wanted) << out;

  options.plan_path.clear();
  options.target.hidden = 32;
  EXPECT_THROW(check(options, f.source.arch(), f.source.dims()), core::Error);  // no layer goes
  options.target = {};
  options.blocks = 6;
  options.criterion = "random";
  EXPECT_NO_THROW(check(options, f.source.arch(), f.source.dims()));
}

// Texts of one kind of token, whose second moments are singular.
TEST(Compensation, SingularTextsStayFinite) {
  const Fixture f;
  core::write_text_file(f.dir.file("text.txt"), std::string(9000, 'a'));
  for (const Compensation compensation : {Compensation::bias, Compensation::least_squares}) {
    const double d = f.distance(f.pruned(plan_of(R"({"ffn": ["0-63"]})"), compensation));
    EXPECT_TRUE(std::isfinite(d));
  }
}

}  // namespace
}  // namespace espalier::prune
