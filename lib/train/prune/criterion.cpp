// SPDX-License-Identifier: Apache-2.0
// The list of criteria, and the scores of a whole model.
#include "prune/criterion.h"

#include "core/error.h"
#include "core/units.h"
#include "prune/influence.h"
#include "prune/pruner.h"

namespace espalier::prune {

using arch::Axis;

#define ESP_CRITERION(name) extern const Criterion k_##name;
#include "prune/criteria.inc"
#undef ESP_CRITERION

std::span<const Criterion* const> all_criteria() {
  static const Criterion* const list[] = {
#define ESP_CRITERION(name) &k_##name,
#include "prune/criteria.inc"
#undef ESP_CRITERION
  };
  return list;
}

std::vector<CriterionFacts> criterion_facts() {
  std::vector<CriterionFacts> out;
  for (const Criterion* c : all_criteria()) {
    CriterionFacts facts{.name = std::string(c->name),
                         .source = std::string(c->source),
                         .scores_layers = c->layers != nullptr,
                         .before_the_pass = c->scope == Scope::model,
                         .backward = any_backward(c->needs),
                         .second_moments = c->needs.contains("second_moments"),
                         .rounds = c->rounds,
                         .turns = c->turns};
    for (const Axis axis : c->axes) facts.axes.emplace_back(arch::axis_name(axis));
    if (facts.scores_layers) facts.axes.emplace_back("layers");
    if (c->blocks != nullptr) facts.axes.emplace_back("blocks");
    out.push_back(std::move(facts));
  }
  return out;
}

CriterionFacts facts_of(const std::string& name) {
  for (CriterionFacts& facts : criterion_facts())
    if (facts.name == name) return std::move(facts);
  return {.name = name};
}

const Criterion& criterion_by_name(std::string_view name) {
  std::vector<std::string> names;
  std::string list;
  for (const Criterion* c : all_criteria()) {
    if (c->name == name) return *c;
    names.emplace_back(c->name);
    list += (list.empty() ? "" : ", ") + names.back();
  }
  const std::string nearest = core::nearest_name(name, names.data(), names.size());
  core::fail(core::ErrorKind::usage, "unknown criterion '", name, "'",
             nearest.empty() ? "" : "; did you mean '" + nearest + "'?", " (known: ", list, ")");
}

namespace {

// The scores of the layers so far, for a walk that is resumed.
class KeptScores : public layerwise::Visitor {
 public:
  explicit KeptScores(Scores& scores) : scores_(scores) {}
  void save(layerwise::Saved& out) const override { out.about["scores"] = scores_.all; }
  void load(const layerwise::Saved& in) override { in.about.at("scores").get_to(scores_.all); }

 private:
  Scores& scores_;
};

}  // namespace

Scores score_model(const model::Transformer& dense, const torch::Tensor& windows,
                   const Criterion& criterion, const std::set<Axis>& axes,
                   const layerwise::WalkOptions& options, std::uint64_t seed) {
  Scores out;
  out.criterion = criterion.name;
  out.tokens = windows.numel();
  const auto add = [&](const CriterionInput& input, Axis axis, int layer) {
    if (!axes.contains(axis) || !criterion.axes.contains(axis)) return;
    const torch::NoGradGuard no_grad;
    const std::string name = scores_name(axis, layer);
    std::vector<double>& scores = out.all[name] = criterion.score(input, axis, layer);
    require_finite(name, scores);
    for (double& v : scores) v = static_cast<float>(v);  // as in a file
  };
  Influence influence(windows.size(0));
  KeptScores kept(out);
  const Sums sums =
      collect(dense, windows, axes.empty() ? StatisticNames() : criterion.needs, options,
              [&](const model::Transformer& model, const Sums& of_layer, int l) {
                const arch::LayerDims& size = dense.dims().layers[static_cast<std::size_t>(l)];
                for (const Axis axis : arch::kScoredAxes)
                  if (size[axis] > 0) add({model, of_layer, seed}, axis, l);
              },
              {&influence, &kept});
  add({dense, sums, seed}, Axis::hidden, -1);
  require_finite("layers", out.all["layers"] = influence.of_layers);
  return out;
}

void score_layers(const Criterion& criterion, const LayersInput& input, Scores& out) {
  layerwise::WalkOptions walk = input.walk;
  walk.work = nullptr;  // its state is that of one walk
  const LayersInput whole{input.model, input.windows, walk, input.seed, input.drop};
  const auto put = [&](const std::string& name, const std::vector<double>& scores) {
    require_finite(name, scores);
    out.all[name].clear();
    for (const double v : scores) out.all[name].push_back(static_cast<float>(v));  // as in a file
  };
  if (criterion.layers != nullptr)
    for (const auto& [drop, scores] : criterion.layers(whole)) put(layer_scores_name(drop), scores);
  if (criterion.blocks != nullptr)
    for (const auto& [kind, scores] : criterion.blocks(whole)) put(block_scores_name(kind), scores);
}

}  // namespace espalier::prune
