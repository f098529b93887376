// SPDX-License-Identifier: Apache-2.0
// Equal sizes are tried one by one, unequal sizes are a knapsack.
#include "plan/layer_sizes.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/units.h"
#include "plan/knapsack.h"

namespace espalier::plan {

using arch::Axis;
using arch::LayerDims;
namespace {

// Of one block; wide blocks are cut in larger steps.
constexpr std::int64_t kMostSizes = 64;

std::int64_t granule_of(const SizeQuestion& question, Axis axis) {
  return axis == Axis::ffn ? question.ffn_granule : 1;
}

// The sizes that a block may have, ascending.
std::vector<std::int64_t> sizes_of(const SizeQuestion& question, Axis axis, std::int64_t full) {
  std::vector<std::int64_t> out;
  if (question.blocks) out.push_back(0);
  if (question.axes.contains(axis)) {
    const std::int64_t granule = granule_of(question, axis),
                       step = granule * ((full / granule + kMostSizes - 1) / kMostSizes);
    for (std::int64_t s = step; s > 0 && s < full; s += step) out.push_back(s);
  }
  out.push_back(full);
  return out;
}

// A layer with this block alone.
LayerDims only(const SizeQuestion& question, std::size_t layer, Axis axis, std::int64_t size) {
  LayerDims out = {};
  if (size == 0) return out;
  for (const Axis a : arch::block_of(question.arch, axis).axes)
    out[a] = a == axis ? size : question.most.layers[layer][a];
  return out;
}

// The parameters of a model with these layers.
std::int64_t parameters_of(const SizeQuestion& question, std::vector<LayerDims> layers) {
  arch::ModelDims dims = question.most;
  dims.layers = std::move(layers);
  return arch::parameters(question.arch, dims);
}

bool empty(const LayerDims& layer) {
  return std::all_of(arch::kScoredAxes.begin(), arch::kScoredAxes.end(),
                     [&](Axis axis) { return layer[axis] == 0; });
}

// What a block is expected to lose, by losses raised to `power` around their mean.
class Losses {
 public:
  Losses(const std::vector<BlockCurve>& curves, double power) : power_(power) {
    for (const BlockCurve& c : curves) mean_ += c.drop / static_cast<double>(curves.size());
  }
  double without(const BlockCurve& curve) const {
    return mean_ * std::pow(curve.drop / mean_, power_);
  }
  double of(const BlockCurve& curve, std::int64_t size) const {
    return without(curve) * curve.left.at(static_cast<std::size_t>(size));
  }
  double of(const std::vector<BlockCurve>& curves, const std::vector<LayerDims>& layers) const {
    double sum = 0;
    for (const BlockCurve& c : curves) sum += of(c, layers[c.layer][c.axis]);
    return sum;
  }

 private:
  double power_, mean_ = 0;
};

// The layers that may stay, those first that the model needs least.
std::vector<std::int64_t> least_needed(const SizeQuestion& question,
                                       const std::vector<BlockCurve>& curves,
                                       const Losses& losses) {
  std::vector<double> need(question.most.layers.size(), 0);
  for (const BlockCurve& c : curves) need[c.layer] += losses.without(c);
  std::vector<std::int64_t> out = question.stay;
  std::stable_sort(out.begin(), out.end(), [&](std::int64_t a, std::int64_t b) {
    return need[static_cast<std::size_t>(a)] < need[static_cast<std::size_t>(b)];
  });
  return out;
}

// The largest sizes without the first `gone` layers of an order.
std::vector<LayerDims> without(const SizeQuestion& question, const std::vector<std::int64_t>& order,
                               std::size_t gone) {
  std::vector<LayerDims> out(question.most.layers.size());
  for (std::size_t i = gone; i < order.size(); ++i) {
    const auto l = static_cast<std::size_t>(order[i]);
    out[l] = question.most.layers[l];
  }
  return out;
}

// Those that stay, in order.
std::vector<LayerDims> present(const std::vector<LayerDims>& layers) {
  std::vector<LayerDims> out;
  for (const LayerDims& layer : layers)
    if (!empty(layer)) out.push_back(layer);
  return out;
}

// The sizes of least loss among those of `most`; nothing where none is within the budget.
std::optional<std::vector<LayerDims>> unequal(const SizeQuestion& question,
                                              const std::vector<LayerDims>& most,
                                              const std::vector<BlockCurve>& curves,
                                              const Losses& losses) {
  const std::int64_t base = parameters_of(question, {LayerDims{}});
  std::vector<CostsAndLosses> items;
  std::vector<const BlockCurve*> of;
  std::vector<std::vector<std::int64_t>> sizes;
  for (const BlockCurve& c : curves) {
    const std::int64_t full = most[c.layer][c.axis];
    if (full == 0) continue;
    of.push_back(&c);
    sizes.push_back(sizes_of(question, c.axis, full));
    CostsAndLosses& item = items.emplace_back();
    for (const std::int64_t s : sizes.back()) {
      item.costs.push_back(parameters_of(question, {only(question, c.layer, c.axis, s)}) - base);
      item.losses.push_back(losses.of(c, s));
    }
  }
  if (base + smallest_cost(items) > question.budget) return std::nullopt;
  const std::vector<std::size_t> chosen = least_loss_within(items, question.budget - base);
  std::vector<LayerDims> out = most;
  for (LayerDims& layer : out)
    for (const Axis axis : arch::kLayerAxes) layer[axis] = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const LayerDims block = only(question, of[i]->layer, of[i]->axis, sizes[i][chosen[i]]);
    for (const Axis axis : arch::kLayerAxes) out[of[i]->layer][axis] += block[axis];
  }
  if (std::all_of(out.begin(), out.end(), empty)) return std::nullopt;
  return out;
}

std::size_t most_gone(const SizeQuestion& question) {
  return question.fewer_layers ? question.stay.size() - 1 : 0;
}

// The best unequal sizes. Where blocks may not go by themselves, for every number of layers.
std::optional<SizeChoice> per_layer(const SizeQuestion& question,
                                    const std::vector<BlockCurve>& curves, double power) {
  const Losses losses(curves, power), plain(curves, 1);
  const std::vector<std::int64_t> order = least_needed(question, curves, losses);
  std::optional<SizeChoice> best;
  double least = 0;
  for (std::size_t gone = 0; gone <= (question.blocks ? 0 : most_gone(question)); ++gone) {
    const std::vector<LayerDims> most = without(question, order, gone);
    const auto layers = unequal(question, most, curves, losses);
    if (layers && (!best || losses.of(curves, *layers) < least)) {
      best = SizeChoice{"", *layers, plain.of(curves, *layers)};
      least = losses.of(curves, *layers);
    }
    if (parameters_of(question, present(most)) <= question.budget) break;
  }
  return best;
}

std::string name_of(const SizeQuestion& question, const std::vector<LayerDims>& layers,
                    std::int64_t kept) {
  std::string out;
  for (const Axis axis : arch::kScoredAxes) {
    std::int64_t size = 0, had = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      size = std::max(size, layers[l][axis]);
      had = std::max(had, question.most.layers[l][axis]);
    }
    if (question.axes.contains(axis) && size < had)
      out += (out.empty() ? "" : ", ") + std::string(arch::axis_name(axis)) + " " +
             std::to_string(size);
  }
  if (kept < static_cast<std::int64_t>(question.stay.size()))
    out += (out.empty() ? "" : ", ") + std::to_string(kept) + " layers";
  return out.empty() ? "all sizes" : out + " in every layer";
}

void at_most(std::vector<LayerDims>& layers, Axis axis, std::int64_t size) {
  for (LayerDims& layer : layers) layer[axis] = std::min(layer[axis], size);
}

// The sizes of an axis that all layers may share, descending.
std::vector<std::int64_t> shared_sizes(const SizeQuestion& question, Axis axis) {
  std::int64_t full = 0;
  for (const LayerDims& l : question.most.layers) full = std::max(full, l[axis]);
  std::vector<std::int64_t> out{full};
  const std::int64_t granule = granule_of(question, axis);
  if (question.axes.contains(axis))
    for (std::int64_t s = (full - 1) / granule * granule; s > 0; s -= granule) out.push_back(s);
  return out;
}

// Of `most` with equal caps: for every number of groups the largest ffn within the budget.
std::vector<std::vector<LayerDims>> capped(const SizeQuestion& question,
                                           const std::vector<LayerDims>& most) {
  std::vector<std::vector<LayerDims>> out;
  const std::vector<std::int64_t> widths = shared_sizes(question, Axis::ffn);
  for (const std::int64_t groups : shared_sizes(question, Axis::kv_groups)) {
    const auto with = [&](std::int64_t ffn) {
      std::vector<LayerDims> layers = most;
      at_most(layers, Axis::kv_groups, groups);
      at_most(layers, Axis::ffn, ffn);
      return layers;
    };
    const auto fits = std::partition_point(widths.begin(), widths.end(), [&](std::int64_t ffn) {
      return parameters_of(question, present(with(ffn))) > question.budget;
    });
    if (fits != widths.end()) out.push_back(with(*fits));
  }
  return out;
}

// Sizes that all layers share, by their expected losses.
std::vector<SizeChoice> equal_sizes(const SizeQuestion& question,
                                    const std::vector<BlockCurve>& curves) {
  const Losses losses(curves, 1);
  std::vector<SizeChoice> out;
  const auto add = [&](const std::vector<LayerDims>& layers) {
    SizeChoice choice{"", layers, losses.of(curves, layers)};
    choice.name = name_of(question, layers, static_cast<std::int64_t>(choice.kept().size()));
    if (checkpoint::has_hf_form(question.arch, dims_of(question, choice)))
      out.push_back(std::move(choice));
  };
  if (!question.equal.empty()) {
    std::vector<LayerDims> layers(question.equal.size());
    for (const std::int64_t l : question.stay)
      layers[static_cast<std::size_t>(l)] = question.equal[static_cast<std::size_t>(l)];
    add(layers);
    return out;
  }
  const std::vector<std::int64_t> order = least_needed(question, curves, losses);
  for (std::size_t gone = 0; gone <= most_gone(question); ++gone) {
    const std::vector<LayerDims> most = without(question, order, gone);
    for (const std::vector<LayerDims>& layers : capped(question, most)) add(layers);
    if (parameters_of(question, present(most)) <= question.budget) break;
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const SizeChoice& a, const SizeChoice& b) { return a.loss < b.loss; });
  return out;
}

bool among(const std::vector<SizeChoice>& choices, const SizeChoice& choice) {
  return std::any_of(choices.begin(), choices.end(),
                     [&](const SizeChoice& c) { return c.layers == choice.layers; });
}

// By the losses, by their roots, and with all that may stay in every layer.
std::vector<SizeChoice> unequal_choices(const SizeQuestion& question,
                                        const std::vector<BlockCurve>& curves) {
  std::vector<SizeChoice> out;
  if (question.one_size) return out;
  SizeQuestion all_stay = question;
  all_stay.blocks = all_stay.fewer_layers = false;
  const auto add = [&](const SizeQuestion& asked, double power, const char* name) {
    std::optional<SizeChoice> choice = per_layer(asked, curves, power);
    if (!choice || !checkpoint::has_hf_form(question.arch, dims_of(question, *choice)) ||
        among(out, *choice))
      return;
    choice->name = name;
    out.push_back(std::move(*choice));
  };
  add(question, 1, "sizes per layer");
  add(question, 0.5, "sizes per layer, less unequal");
  if (question.fewer_layers) add(all_stay, 1, "sizes per layer, all blocks stay");
  return out;
}

// The best, the best with all layers, and then by expected loss.
std::vector<SizeChoice> equal_choices(const SizeQuestion& question,
                                      const std::vector<BlockCurve>& curves, std::size_t n) {
  std::vector<SizeChoice> out = equal_sizes(question, curves);
  const auto whole = std::find_if(out.begin(), out.end(), [&](const SizeChoice& c) {
    return c.kept().size() == question.stay.size();
  });
  if (out.size() > 2 && whole != out.end() && whole != out.begin())
    std::rotate(out.begin() + 1, whole, whole + 1);
  out.resize(std::min(out.size(), n));
  return out;
}

// Whether a model with an own size in some layer, or without some block, can be written.
bool writable(const SizeQuestion& question, Axis axis, bool absent) {
  arch::ModelDims dims = question.most;
  for (LayerDims& layer : dims.layers) {
    if (layer[axis] < 2) continue;
    layer[axis] = absent ? 0 : layer[axis] / 2;
    if (absent && axis == Axis::kv_groups) layer[Axis::q_per_kv] = 0;
    break;
  }
  return checkpoint::has_hf_form(question.arch, dims);
}

}  // namespace

std::vector<std::int64_t> SizeChoice::kept() const {
  std::vector<std::int64_t> out;
  for (std::size_t l = 0; l < layers.size(); ++l)
    if (!empty(layers[l])) out.push_back(static_cast<std::int64_t>(l));
  return out;
}

arch::ModelDims dims_of(const SizeQuestion& question, const SizeChoice& choice) {
  arch::ModelDims dims = question.most;
  dims.layers = present(choice.layers);
  return dims;
}

std::optional<SizeQuestion> size_question(const PruneTarget& target, bool per_layer,
                                          const std::set<Axis>& scored, const arch::Arch& arch,
                                          const arch::ModelDims& before) {
  if (!target.parameters && !per_layer) return std::nullopt;
  PruneTarget given = target;
  given.parameters.reset();
  const arch::ModelDims after = resolve(given, arch, before);
  const std::int64_t of_given = arch::parameters(arch, after);
  if (!per_layer && of_given <= *target.parameters) return std::nullopt;
  SizeQuestion out{.arch = arch,
                   .most = after,
                   .budget = per_layer ? of_given : *target.parameters,
                   .ffn_granule = target.ffn_granule,
                   .fewer_layers = !per_layer && !target.layers};
  if (per_layer) out.equal = resolve_layers(given, arch, before, after);
  for (const Axis axis : arch::kScoredAxes) {
    if (!scored.contains(axis) || !arch::has_axis(arch, axis)) continue;
    if (per_layer == given.sizes[axis].has_value()) out.axes.insert(axis);
    if (per_layer) given.sizes[axis].reset();
  }
  given.layers.reset();
  out.most.layers = resolve(given, arch, before).layers;
  out.stay.resize(out.most.layers.size());
  std::iota(out.stay.begin(), out.stay.end(), 0);
  const auto each = [&](bool absent) {
    return std::all_of(arch::kScoredAxes.begin(), arch::kScoredAxes.end(), [&](Axis axis) {
      return !arch::has_axis(arch, axis) || writable(out, axis, absent);
    });
  };
  out.one_size = before.uniform() && before.n_layers() > 1 && !each(false);
  out.blocks = out.fewer_layers && !out.one_size && each(true);
  return out;
}

void settle(SizeQuestion& question, const std::vector<std::int64_t>& stay,
            const arch::ModelDims& after) {
  question.stay = stay;
  question.most.attention_bias = after.attention_bias;
  question.most.output_bias = after.output_bias;
  question.most.mlp_bias = after.mlp_bias;
  if (question.equal.empty()) return;
  std::vector<LayerDims> equal;
  equal.reserve(stay.size());
  for (const std::int64_t l : stay) equal.push_back(question.equal[static_cast<std::size_t>(l)]);
  question.budget = parameters_of(question, equal);
}

std::vector<SizeChoice> size_choices(const SizeQuestion& question,
                                     const std::vector<BlockCurve>& curves) {
  std::vector<SizeChoice> out = unequal_choices(question, curves);
  const std::vector<SizeChoice> equal = equal_choices(question, curves, out.empty() ? 3 : 2);
  out.insert(out.end(), equal.begin(), equal.end());
  ESP_CHECK(!out.empty(), unsupported, "parameters ", question.budget,
            ": no sizes that are scored and can be written are so few; give a smaller hidden or "
            "vocab as well, or a criterion that scores more axes");
  return out;
}

PrunePlan plan_of(const SizeChoice& choice, const std::vector<BlockCurve>& curves,
                  const arch::ModelDims& before) {
  PrunePlan plan;
  plan.keep_layers = choice.kept();
  plan.layers.resize(plan.keep_layers.size());
  for (const BlockCurve& c : curves) {
    const auto found = std::lower_bound(plan.keep_layers.begin(), plan.keep_layers.end(),
                                        static_cast<std::int64_t>(c.layer));
    if (found == plan.keep_layers.end() || *found != static_cast<std::int64_t>(c.layer)) continue;
    const std::int64_t size = choice.layers[c.layer][c.axis];
    if (size == before.layers[c.layer][c.axis]) continue;
    std::vector<std::int64_t> kept(c.order.begin(), c.order.begin() + size);
    std::sort(kept.begin(), kept.end());
    plan.layers[static_cast<std::size_t>(found - plan.keep_layers.begin())][c.axis] =
        std::move(kept);
  }
  return plan;
}

}  // namespace espalier::plan
