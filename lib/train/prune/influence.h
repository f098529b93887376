// SPDX-License-Identifier: Apache-2.0
// Block influence: 1 - mean cosine between what a layer reads and what it leaves in the stream. It
// is the score of whole layers, unless a criterion has its own. Men et al. 2024 (ShortGPT), arXiv
// 2403.03853.
#pragma once
#include <algorithm>
#include <vector>

#include "layerwise/visitor.h"

namespace espalier::prune {

// How alike a token is before and after a layer: [n, T, H], [n, T, H] -> [n, T].
using Likeness = torch::Tensor (*)(const torch::Tensor& in, const torch::Tensor& out);
inline torch::Tensor cosine(const torch::Tensor& in, const torch::Tensor& out) {
  return torch::cosine_similarity(in, out, -1);
}

class Influence : public layerwise::Visitor {
 public:
  // Over the first `windows` windows. The value converges fast.
  explicit Influence(std::int64_t windows, Likeness likeness = cosine)
      : windows_(windows), likeness_(likeness) {}
  void begin(model::Transformer&, const torch::Tensor&, const layerwise::Stream& stream) override {
    stream_ = &stream;
  }
  void layer_begin(model::Transformer&, int) override {
    in_ = stream_->states.narrow(0, 0, std::min(windows_, stream_->states.size(0))).clone();
  }
  void layer_end(model::Transformer&, int, const layerwise::Stream& stream) override {
    double like = 0;
    for (std::int64_t w = 0; w < in_.size(0); w += stream.batch) {
      const std::int64_t n = std::min(stream.batch, in_.size(0) - w);
      like += likeness_(in_.narrow(0, w, n), stream.states.narrow(0, w, n))
                  .sum(torch::kFloat64)
                  .item<double>();
    }
    of_layers.push_back(1.0 - like / static_cast<double>(in_.size(0) * in_.size(1)));
  }
  void save(layerwise::Saved& out) const override { out.about["influence"] = of_layers; }
  void load(const layerwise::Saved& in) override { in.about.at("influence").get_to(of_layers); }
  std::vector<double> of_layers;

 private:
  std::int64_t windows_;
  Likeness likeness_;
  const layerwise::Stream* stream_ = nullptr;
  torch::Tensor in_;
};

}  // namespace espalier::prune
