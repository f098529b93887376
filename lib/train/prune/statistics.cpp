// SPDX-License-Identifier: Apache-2.0
// One pass over the calibration windows: the hidden states of all windows advance through one layer
// at a time.
#include "prune/statistics.h"

#include "core/error.h"
#include "model/gram.h"

namespace espalier::prune {
namespace {

constexpr std::int64_t kBatch = 8;  // windows per forward

// X^T X of x [.., width]: computed in float32, returned in float64 for summation.
torch::Tensor gram_of(const torch::Tensor& x) {
  return model::gram(x.reshape({-1, x.size(-1)})).to(torch::kFloat64);
}
void add(torch::Tensor& sum, const torch::Tensor& value) {
  sum = sum.defined() ? sum.add_(value) : value;
}
torch::Tensor over_tokens(const torch::Tensor& x) {
  return x.reshape({-1, x.size(-1)}).sum(0, false, torch::kFloat64);
}

}  // namespace

Statistics collect(const model::Transformer& source, const torch::Tensor& windows,
                   const std::set<Statistic>& wanted, const core::Progress& progress,
                   const LayerDone& done) {
  torch::InferenceMode inference;
  model::Transformer model = source;  // shares the weights; has its own tap
  const bool moments = wanted.contains(Statistic::channel_moments);
  Statistics out;
  out.tokens = windows.numel();
  std::vector<torch::Tensor> streams;
  for (const torch::Tensor& batch : windows.split(kBatch)) streams.push_back(model.embed(batch));
  const std::int64_t n_layers = model.dims().n_layers();
  for (int l = 0; l < n_layers; ++l) {
    model.load_layer(l);
    LayerStatistics s;
    double cosine = 0;
    model.set_tap([&](const char* point, int, const torch::Tensor& value) {
      const std::string_view name(point);
      if (name == "ffn_act") {
        if (moments) add(s.ffn_abs, over_tokens(value.abs()));
        if (moments) add(s.ffn_squares, over_tokens(value.square()));
        if (wanted.contains(Statistic::ffn_gram)) add(s.ffn_gram, gram_of(value));
      } else if (name == "attn_mix") {
        if (moments) add(s.attn_abs, over_tokens(value.abs()));
        if (moments) add(s.attn_squares, over_tokens(value.square()));
        if (wanted.contains(Statistic::attn_gram)) add(s.attn_gram, gram_of(value));
      } else if (moments && (name == "attn_in" || name == "ffn_in")) {
        add(out.hidden_abs, over_tokens(value.abs()));
        add(out.hidden_squares, over_tokens(value.square()));
      }
    });
    for (torch::Tensor& x : streams) {
      const torch::Tensor y = model.layer(l, x);
      if (wanted.contains(Statistic::block_influence))
        cosine += torch::cosine_similarity(x, y, -1).sum(torch::kFloat64).item<double>();
      x = y;
    }
    s.block_influence = 1.0 - cosine / static_cast<double>(out.tokens);
    out.layers.push_back(std::move(s));
    if (done) {
      done(model, out, l);
      out.layers.back().ffn_gram = out.layers.back().attn_gram = torch::Tensor();
    }
    model.unload_layer(l);
    if (progress) progress({"statistics", l + 1, n_layers, "layers", ""});
  }
  return out;
}

}  // namespace espalier::prune
