// SPDX-License-Identifier: Apache-2.0
// Passes through models on the training side. One layer is timed, with weights of the model's
// sizes, and amounts are floating-point operations. Of a model with unequal layers that is the
// largest one.
//
// A sample needs the memory of one layer in float32, twice with gradients.
#pragma once
#include "timing/work.h"

namespace espalier::timing {

// Operations of one token in all layers, of a forward pass without the output matrix: products of
// matrices, and attention over `sequence` positions.
double operations_per_token(const Model& model, std::int64_t sequence);

// All layers, without gradients.
Item forward(const Model& model, const Text& text);
// All layers forward and backward.
Item train(const Model& model, const Text& text);
// One product with the output matrix for each token; a backward pass has two more.
Item output(const arch::ModelDims& dims, std::int64_t tokens);
// The loss and its gradient from the logits of student and teacher.
Item loss(std::int64_t vocab, std::int64_t tokens);
// What evaluation computes from the logits of one model and of the reference.
Item compare(std::int64_t vocab, std::int64_t tokens);
// One step of the optimizer.
Item optimizer(std::int64_t parameters);

}  // namespace espalier::timing
