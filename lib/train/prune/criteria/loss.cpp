// SPDX-License-Identifier: Apache-2.0
// All streams go through a part while its layer is in memory.
#include "prune/criteria/loss.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "model/allocation.h"
#include "prune/choose.h"

namespace espalier::prune {
namespace {

using layerwise::Stream;
using torch::Tensor;

void through(const model::Transformer& model, const Part& part, const Stream& stream) {
  for (std::int64_t b = 0; b < stream.batches(); ++b) {
    const Tensor x = stream.at(b);
    if (part.block == nullptr) {
      x.copy_(model.layer(part.layer, x));
    } else {
      x.add_(model.output(*part.block, part.layer, model.activation(*part.block, part.layer, x)));
    }
  }
}

}  // namespace

double loss_of(const model::Transformer& model, const Tensor& ids, const Tensor& states) {
  const std::int64_t T = ids.size(1) - 1, H = states.size(2);
  const Tensor targets = ids.narrow(1, 1, T).reshape({-1, 1}).to(torch::kInt64),
               rows = states.narrow(1, 0, T).reshape({-1, H});
  double sum = 0;
  for (std::int64_t at = 0; at < rows.size(0); at += kLossTokens) {
    const std::int64_t n = std::min(kLossTokens, rows.size(0) - at);
    const Tensor logits = model.logits(model.final_norm(rows.narrow(0, at, n)));
    sum += (torch::logsumexp(logits, -1) - logits.gather(1, targets.narrow(0, at, n)).squeeze(1))
               .sum(torch::kFloat64)
               .item<double>();
  }
  return sum / static_cast<double>(rows.size(0));
}

std::vector<Part> layers_of(const model::Transformer& model) {
  std::vector<Part> out;
  for (int l = 0; l < static_cast<int>(model.dims().n_layers()); ++l) out.push_back({l});
  return out;
}

std::vector<Part> blocks_of(const model::Transformer& model) {
  std::vector<Part> out;
  for (const PresentBlock& b : present_blocks(model.arch(), model.dims()))
    out.push_back({static_cast<int>(b.layer), b.block});
  return out;
}

BlockScores by_kind(const model::Transformer& model, const std::vector<double>& of_blocks) {
  const auto layers = static_cast<std::size_t>(model.dims().n_layers());
  BlockScores out;
  for (const auto kind : {arch::BlockKind::attention, arch::BlockKind::ffn})
    out[kind].assign(layers, 0.0);
  const std::vector<Part> parts = blocks_of(model);
  for (std::size_t i = 0; i < parts.size(); ++i)
    out.at(parts[i].block->kind)[static_cast<std::size_t>(parts[i].layer)] = of_blocks.at(i);
  return out;
}

Losses losses_without_each(const LayersInput& input, const std::vector<Part>& kept) {
  const Tensor& ids = input.windows;
  ESP_CHECK(ids.size(1) >= 2, usage,
            "perplexity needs windows of at least 2 tokens: the loss is that of the next token");
  const torch::InferenceMode inference;
  const model::AllocationReuse reuse;
  model::Transformer model = input.model;
  model.load_output();
  Stream whole;
  whole.batch = std::max<std::int64_t>(1, input.walk.batch_tokens / ids.size(1));
  whole.states = torch::empty({ids.size(0), ids.size(1), model.dims().hidden});
  for (std::int64_t b = 0; b < whole.batches(); ++b)
    whole.at(b).copy_(model.embed(ids.narrow(0, b * whole.batch, whole.at(b).size(0))));
  std::vector<Stream> without;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    model.load_layer(kept[i].layer);
    for (const Stream& stream : without) through(model, kept[i], stream);
    without.push_back({whole.states.clone(), whole.batch});
    through(model, kept[i], whole);
    if (i + 1 == kept.size() || kept[i + 1].layer != kept[i].layer)
      model.unload_layer(kept[i].layer);
    if (input.walk.progress)
      input.walk.progress({"parts left out", static_cast<std::int64_t>(i + 1),
                           static_cast<std::int64_t>(kept.size()), "parts", ""});
  }
  Losses out;
  out.whole = loss_of(model, ids, whole.states);
  ESP_CHECK(std::isfinite(out.whole), input,
            "the loss of this text is not finite: activations or logits exceed the range of "
            "float32");
  for (const Stream& stream : without) out.without.push_back(loss_of(model, ids, stream.states));
  return out;
}

std::vector<double> growth_of_the_loss(const LayersInput& input, const std::vector<Part>& parts) {
  const Losses losses = losses_without_each(input, parts);
  std::vector<double> out;
  for (const double without : losses.without) out.push_back(without - losses.whole);
  return out;
}

std::vector<double> greedy_rounds(const LayersInput& input, const std::vector<Part>& parts,
                                  std::int64_t rounds) {
  std::vector<double> out(parts.size(), static_cast<double>(rounds));
  std::vector<Part> kept = parts;
  std::vector<std::size_t> places(parts.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  for (std::int64_t round = 0; round < rounds; ++round) {
    const Losses losses = losses_without_each(input, kept);
    const auto best =
        std::min_element(losses.without.begin(), losses.without.end()) - losses.without.begin();
    out[places[static_cast<std::size_t>(best)]] = static_cast<double>(round);
    kept.erase(kept.begin() + best);
    places.erase(places.begin() + best);
  }
  return out;
}

}  // namespace espalier::prune
