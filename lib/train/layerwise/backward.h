// SPDX-License-Identifier: Apache-2.0
// Gradients of the language model's loss, with one layer in memory. The loss is the cross-entropy
// in nats, mean over all predictions: those of tokens 1 .. T-1 of every window.
//
// A forward walk keeps the stream before each layer. From the last layer to the first, each layer
// is then loaded again and recomputed with a graph, one window at a time. So a gradient that a
// visitor sees is that of one window's part of the loss. Their sum over the windows is the gradient
// of the loss.
//
// Memory: that of a walk, two copies of one layer's weights, the graph of one window, and a stream
// (4 * tokens * H bytes) for each layer. Time: that of about four walks.
#pragma once
#include <cstdint>
#include <vector>

#include "layerwise/visitor.h"
#include "layerwise/walk.h"

namespace espalier::layerwise {

// Returns the loss. `visitors` see the walk back: see() with the recomputed values of a window,
// then see_gradient() and see_weight(). `forward` are visitors of the walk before that. Do not call
// it under InferenceMode, which forbids a graph.
double walk_back(const model::Transformer& model, const torch::Tensor& ids,
                 const std::vector<Visitor*>& visitors, const WalkOptions& options = {},
                 std::vector<Visitor*> forward = {});

// Of the streams that walk_back() keeps.
std::int64_t walk_back_bytes(const arch::ModelDims& dims, std::int64_t tokens);

}  // namespace espalier::layerwise
