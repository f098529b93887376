// SPDX-License-Identifier: Apache-2.0
// Streams that part behind their block, and their logits beside those of the whole model.
#include "prune/block_losses.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "prune/criteria/loss.h"

namespace espalier::prune {
namespace {

using torch::Tensor;

// sum over v of p_v log q_v, where q is the softmax of the logits.
Tensor mean_log(const Tensor& p, const Tensor& logits) {
  return (p * logits).sum(-1) - torch::logsumexp(logits, -1);
}

}  // namespace

void BlockLosses::behind(const model::Transformer& model, int layer, const arch::Block& block,
                         const layerwise::Stream& stream, const std::vector<Tensor>& activations,
                         const Tensor& consumer) {
  const std::int64_t n = std::min(windows_, stream.states.size(0));
  whole_ = stream.states.narrow(0, 0, n);
  model::Transformer quiet = model;  // nobody watches these passes
  quiet.set_tap({});
  const auto batches_of = [&](const Tensor& states) {
    return layerwise::Stream{states, stream.batch};
  };
  for (const Tensor& states : streams_) {
    const layerwise::Stream s = batches_of(states);
    for (std::int64_t b = 0; b < s.batches(); ++b)
      s.at(b).add_(quiet.output(block, layer, quiet.activation(block, layer, s.at(b))));
  }
  const auto given = [&](std::int64_t b, const Tensor& x) {
    const Tensor a = activations[static_cast<std::size_t>(b)].narrow(0, 0, x.size(0));
    return quiet.output(block, layer, a);
  };
  const layerwise::Stream gone = batches_of(whole_.clone());
  for (std::int64_t b = 0; b < gone.batches(); ++b) gone.at(b).sub_(given(b, gone.at(b)));
  quiet.set_weight(block.consumer, layer, consumer);
  const layerwise::Stream cut = batches_of(gone.states.clone());
  for (std::int64_t b = 0; b < cut.batches(); ++b) cut.at(b).add_(given(b, cut.at(b)));
  streams_.push_back(cut.states);
  streams_.push_back(gone.states);
}

std::vector<BlockLoss> BlockLosses::of_blocks(const model::Transformer& dense) const {
  model::Transformer model = dense;
  model.load_output();
  const auto logits = [&](const Tensor& states, std::int64_t at, std::int64_t n) {
    return model.logits(model.final_norm(states.flatten(0, 1).narrow(0, at, n)));
  };
  const std::int64_t tokens = whole_.size(0) * whole_.size(1);
  std::vector<double> sums(streams_.size(), 0.0);
  for (std::int64_t at = 0; at < tokens; at += kLossTokens) {
    const std::int64_t n = std::min(kLossTokens, tokens - at);
    Tensor z = logits(whole_, at, n);
    const Tensor p = torch::softmax(z, -1), own = mean_log(p, z);
    z.reset();
    for (std::size_t i = 0; i < streams_.size(); ++i)
      sums[i] +=
          (own - mean_log(p, logits(streams_[i], at, n))).sum(torch::kFloat64).item<double>();
  }
  std::vector<BlockLoss> out;
  for (std::size_t i = 0; i < sums.size(); i += 2) {
    out.push_back(
        {sums[i] / static_cast<double>(tokens), sums[i + 1] / static_cast<double>(tokens)});
    ESP_CHECK(std::isfinite(out.back().cut) && std::isfinite(out.back().gone), input,
              "the loss of this text is not finite: activations or logits exceed the range of "
              "float32");
  }
  return out;
}

}  // namespace espalier::prune
