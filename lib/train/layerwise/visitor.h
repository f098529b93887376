// SPDX-License-Identifier: Apache-2.0
// The interface of everything that watches a model while windows of text go through it layer by
// layer. Statistics, importance matrices and edited models are visitors of one walk (walk.h).
#pragma once
#include <algorithm>
#include <cstdint>

#include "layerwise/saved.h"
#include "model/block.h"
#include "model/transformer.h"

namespace espalier::layerwise {

// The residual stream of all windows, [windows, T, H] float32, and how many windows go through a
// layer at a time. Batches are views of `states`.
struct Stream {
  torch::Tensor states;
  std::int64_t batch = 1;
  std::int64_t batches() const { return (states.size(0) + batch - 1) / batch; }
  torch::Tensor at(std::int64_t b) const {
    return states.narrow(0, b * batch, std::min(batch, states.size(0) - b * batch));
  }
};

// All calls come from one thread, in the order of the text. Values are those of one batch. The walk
// advances the stream in place, so a visitor must copy what it keeps of it.
class Visitor {
 public:
  virtual ~Visitor() = default;
  // True: a layer is walked block by block, all batches through one block before the next.
  // Otherwise each batch goes through the whole layer.
  virtual bool by_block() const { return false; }
  // Before the first layer. `ids` [windows, T] is the text, `stream` its embeddings.
  virtual void begin(model::Transformer& /*model*/, const torch::Tensor& /*ids*/,
                     const Stream& /*stream*/) {}
  // The weights of `layer` are in memory; no batch has gone through it.
  virtual void layer_begin(model::Transformer& /*model*/, int /*layer*/) {}
  virtual void see(model::Tap /*point*/, int /*layer*/, std::int64_t /*batch*/,
                   const torch::Tensor& /*value*/) {}
  // In a walk back (backward.h), where a batch is one window: the gradient of what see() showed,
  // and of a weight of the layer.
  virtual void see_gradient(model::Tap /*point*/, int /*layer*/, std::int64_t /*window*/,
                            const torch::Tensor& /*value*/, const torch::Tensor& /*gradient*/) {}
  virtual void see_weight(arch::Role /*role*/, int /*layer*/, std::int64_t /*window*/,
                          const torch::Tensor& /*weight*/, const torch::Tensor& /*gradient*/) {}
  // With by_block(): all batches have gone through the block.
  virtual void block_end(model::Transformer& /*model*/, int /*layer*/, const arch::Block& /*block*/,
                         const Stream& /*stream*/) {}
  // All batches have gone through the layer, whose weights are still in memory.
  virtual void layer_end(model::Transformer& /*model*/, int /*layer*/, const Stream& /*stream*/) {}

  // So that a killed walk can go on (walk.h). Between layers: may the walk be left here?
  virtual bool at_rest() const { return true; }
  // What layer_end(layer) left for good. It is written once, and loaded in the order of layers,
  // after begin() and before load().
  virtual void save_layer(int /*layer*/, Saved& /*out*/) const {}
  virtual void load_layer(int /*layer*/, const Saved& /*in*/) {}
  // What changes from layer to layer.
  virtual void save(Saved& /*out*/) const {}
  virtual void load(const Saved& /*in*/) {}
};

}  // namespace espalier::layerwise
