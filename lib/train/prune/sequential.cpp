// SPDX-License-Identifier: Apache-2.0
// Cutting as an edit of the pass that lets one model follow another.
#include "prune/sequential.h"

#include <algorithm>
#include <utility>

#include "core/profile.h"
#include "layerwise/follow.h"

namespace espalier::prune {
namespace {

using arch::Axis;

// Cuts each kept layer to its size by the criterion's scores, or to what is given.
class Cut : public layerwise::Edit {
 public:
  explicit Cut(const SequentialInput& input) : in_(input) {}

  bool removes(const layerwise::BlockEdit& edit) const override {
    if (in_.given.empty())
      return wanted(edit) == 0 && edit.layer.dims().layers[0][edit.block.axis()] > 0;
    const layerwise::Kept kept = given(edit);
    return std::any_of(kept.begin(), kept.end(),
                       [](const auto& axis) { return axis.second.empty(); });
  }
  bool cuts(const layerwise::BlockEdit& edit) const override {
    return in_.given.empty() ? wanted(edit) < edit.layer.dims().layers[0][edit.block.axis()]
                             : !given(edit).empty();
  }

  // With compensation, the criterion sees the consumer after a refit with all channels. Cutting
  // starts from that matrix.
  layerwise::Kept keep(const layerwise::BlockEdit& edit,
                       const layerwise::NormalEquations& equations,
                       const torch::Tensor& fitted) override {
    if (!in_.given.empty()) return given(edit);
    const core::Section section("score");
    const Axis axis = edit.block.axis();
    Sums sums;
    for (const std::string_view name : in_.criterion.needs)
      statistic_by_name(name).of_block(sums, edit.block, 0, equations);
    model::Transformer layer = edit.layer;
    layer.set_weight(edit.block.consumer, 0, fitted);
    return {{axis, keep_highest(in_.criterion.score({layer, sums}, axis, 0), wanted(edit))}};
  }

 private:
  // The layer's place among the kept layers.
  std::size_t place(const layerwise::BlockEdit& edit) const {
    return static_cast<std::size_t>(
        std::lower_bound(in_.keep_layers.begin(), in_.keep_layers.end(), edit.source) -
        in_.keep_layers.begin());
  }
  std::int64_t wanted(const layerwise::BlockEdit& edit) const {
    return in_.sizes.at(place(edit))[edit.block.axis()];
  }
  layerwise::Kept given(const layerwise::BlockEdit& edit) const {
    layerwise::Kept out;
    for (const Axis axis : edit.block.axes)
      if (const plan::Selection& kept = in_.given.at(place(edit))[axis]) out[axis] = *kept;
    return out;
  }
  const SequentialInput& in_;
};

SequentialResult result_of(const std::vector<layerwise::EditedLayer>& layers,
                           const SequentialInput& input) {
  SequentialResult out;
  out.layers = input.given;
  out.layers.resize(input.keep_layers.size());
  for (std::size_t k = 0; k < layers.size(); ++k) {
    const auto kept = [&](Axis axis) {
      const auto found = layers[k].kept.find(axis);
      return found == layers[k].kept.end() ? plan::Selection() : plan::Selection(found->second);
    };
    if (input.given.empty())
      for (const Axis axis : arch::kCutAxes) out.layers.at(k)[axis] = kept(axis);
    const auto source = static_cast<std::size_t>(input.keep_layers[k]);
    for (const Axis axis : arch::kScoredAxes)
      if (input.given.empty() && input.sizes[k][axis] == 0 &&
          input.dense.dims().layers[source][axis] > 0)
        out.layers.at(k)[axis] = std::vector<std::int64_t>();
    for (const auto& [role, weights] : layers[k].refitted)
      out.replaced[{role, static_cast<int>(input.keep_layers[k])}] = weights;
    for (const auto& [role, ridge] : layers[k].ridges) out.ridges[role].push_back(ridge);
  }
  return out;
}

}  // namespace

SequentialResult prune_sequentially(const SequentialInput& input) {
  torch::InferenceMode inference;
  Cut cut(input);
  layerwise::Follow follow({.keep_layers = input.keep_layers,
                            .hidden = input.hidden,
                            .refit = input.compensation == Compensation::least_squares,
                            .ridge = input.ridge,
                            .biases = input.biases,
                            .judged = input.judged,
                            .gain_factor = input.gain_factor},
                           {&cut});
  std::vector<layerwise::Visitor*> visitors{&follow};
  visitors.insert(visitors.end(), input.watchers.begin(), input.watchers.end());
  layerwise::WalkOptions walk = input.walk;
  if (walk.stage.empty()) walk.stage = "prune";
  layerwise::Walk(input.dense, input.windows, visitors, std::move(walk)).run();
  SequentialResult out = result_of(follow.layers(), input);
  const torch::Tensor& states = follow.edited().states;
  out.judged = states.narrow(0, states.size(0) - input.judged, input.judged);
  return out;
}

}  // namespace espalier::prune
