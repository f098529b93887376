// SPDX-License-Identifier: Apache-2.0
// Sums over the values that tap points see, as a visitor of the walk.
#include "prune/statistics.h"

#include <utility>

#include "layerwise/gram.h"
#include "layerwise/walk.h"

namespace espalier::prune {
namespace {

// X^T X of [.., width] in float32, for adding up in float64.
torch::Tensor gram_of(const torch::Tensor& x) {
  return layerwise::gram(x.reshape({-1, x.size(-1)})).to(torch::kFloat64);
}
void add(torch::Tensor& sum, const torch::Tensor& value) {
  sum = sum.defined() ? sum.add_(value) : value;
}
torch::Tensor over_tokens(const torch::Tensor& x) {
  return x.reshape({-1, x.size(-1)}).sum(0, false, torch::kFloat64);
}

class Collector : public layerwise::Visitor {
 public:
  Collector(const std::set<Statistic>& wanted, const LayerDone& done, std::int64_t tokens)
      : wanted_(wanted), done_(done), moments_(wanted.contains(Statistic::channel_moments)) {
    out.tokens = tokens;
  }

  void layer_begin(model::Transformer&, int) override { out.layers.emplace_back(); }

  void see(model::Tap point, int, std::int64_t, const torch::Tensor& value) override {
    LayerStatistics& s = out.layers.back();
    switch (point) {
      case model::Tap::ffn_act:
        if (moments_) add(s.ffn_abs, over_tokens(value.abs()));
        if (moments_) add(s.ffn_squares, over_tokens(value.square()));
        if (wanted_.contains(Statistic::ffn_gram)) add(s.ffn_gram, gram_of(value));
        break;
      case model::Tap::attn_mix:
        if (moments_) add(s.attn_abs, over_tokens(value.abs()));
        if (moments_) add(s.attn_squares, over_tokens(value.square()));
        if (wanted_.contains(Statistic::attn_gram)) add(s.attn_gram, gram_of(value));
        break;
      case model::Tap::attn_in:
      case model::Tap::ffn_in:
        if (moments_) add(out.hidden_abs, over_tokens(value.abs()));
        if (moments_) add(out.hidden_squares, over_tokens(value.square()));
        break;
      case model::Tap::layer_in:
        layer_in_ = value;
        break;
      case model::Tap::layer_out:
        if (wanted_.contains(Statistic::block_influence))
          cosine_ +=
              torch::cosine_similarity(layer_in_, value, -1).sum(torch::kFloat64).item<double>();
        layer_in_.reset();
        break;
      case model::Tap::attn_out:
      case model::Tap::ffn_out:
      case model::Tap::output_norm:
        break;
    }
  }

  void layer_end(model::Transformer& model, int layer, const layerwise::Stream&) override {
    LayerStatistics& s = out.layers.back();
    s.block_influence = 1.0 - std::exchange(cosine_, 0.0) / static_cast<double>(out.tokens);
    if (!done_) return;
    done_(model, out, layer);
    s.ffn_gram = s.attn_gram = torch::Tensor();
  }

  Statistics out;

 private:
  const std::set<Statistic>& wanted_;
  const LayerDone& done_;
  bool moments_;
  double cosine_ = 0;
  torch::Tensor layer_in_;
};

}  // namespace

Statistics collect(const model::Transformer& source, const torch::Tensor& windows,
                   const std::set<Statistic>& wanted, const core::Progress& progress,
                   const LayerDone& done) {
  torch::InferenceMode inference;
  Collector collector(wanted, done, windows.numel());
  layerwise::Walk(source, windows, {&collector}, {.stage = "statistics", .progress = progress})
      .run();
  return std::move(collector.out);
}

}  // namespace espalier::prune
