// SPDX-License-Identifier: Apache-2.0
// Angular distance across n successive layers, over the last token of every window:
//
//   d(l, n) = mean arccos( cos(x_l, x_(l+n)) ) / pi
//
// x_l is the stream before layer l. The n layers from the l of the smallest d go together. So
// scores depend on how many layers go: that of a layer is the smallest d(l, n) of all runs of n
// layers that contain it. Gromov et al. 2024, "The Unreasonable Ineffectiveness of the Deeper
// Layers", arXiv 2403.17887.
#include <numbers>

#include "prune/criteria/layers.h"

namespace espalier::prune {
namespace angular_distance {

class LastTokens : public layerwise::Visitor {
 public:
  void begin(model::Transformer&, const torch::Tensor&, const layerwise::Stream& stream) override {
    keep(stream);
  }
  void layer_end(model::Transformer&, int, const layerwise::Stream& stream) override {
    keep(stream);
  }
  std::vector<torch::Tensor> before;  // each layer, and behind the last one: [windows, H]

 private:
  void keep(const layerwise::Stream& stream) {
    before.push_back(stream.states.select(1, -1).to(torch::kFloat64).clone());
  }
};

double angle(const torch::Tensor& a, const torch::Tensor& b) {
  return torch::cosine_similarity(a, b, -1).clamp(-1, 1).acos().mean().item<double>() /
         std::numbers::pi;
}

LayerScores layers(const LayersInput& input) {
  LastTokens last;
  walk_through(input, last);
  const std::size_t count = last.before.size() - 1;
  LayerScores out;
  for (std::size_t n = 1; n < count; ++n) {
    std::vector<double>& scores = out[static_cast<std::int64_t>(n)];
    scores.assign(count, 1.0);
    for (std::size_t l = 0; l + n <= count; ++l) {
      const double d = angle(last.before[l], last.before[l + n]);
      for (std::size_t i = l; i < l + n; ++i) scores[i] = std::min(scores[i], d);
    }
  }
  out[0] = count > 1 ? out[1] : std::vector<double>(count, 0.0);
  return out;
}

}  // namespace angular_distance

extern const Criterion k_angular_distance;
const Criterion k_angular_distance{
    "angular_distance",
    "angle across successive layers that go together (arXiv 2403.17887)",
    {},
    Scope::layer,
    {},
    nullptr,
    angular_distance::layers};

}  // namespace espalier::prune
