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

std::vector<std::pair<std::string, std::string>> criterion_names() {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Criterion* c : all_criteria()) out.emplace_back(c->name, c->source);
  return out;
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
                   const layerwise::WalkOptions& options) {
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
                  if (size[axis] > 0) add({model, of_layer}, axis, l);
              },
              {&influence, &kept});
  add({dense, sums}, Axis::hidden, -1);
  require_finite("layers", out.all["layers"] = influence.of_layers);
  return out;
}

}  // namespace espalier::prune
