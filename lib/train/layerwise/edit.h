// SPDX-License-Identifier: Apache-2.0
// A change to the matrices of a model while an edited stream follows the exact one (follow.h).
// Pruning cuts channels and quantization rounds values. Several edits run in one pass, in order.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "layerwise/normal_equations.h"
#include "model/block.h"
#include "model/transformer.h"

namespace espalier::layerwise {

// One block of one layer while it is edited.
struct BlockEdit {
  const model::Transformer& layer;  // this layer alone, its index 0, as edited so far
  int source;                       // the layer's index in the exact model
  const arch::Block& block;
};

// The ascending indices that stay of each axis. An axis without an entry stays whole.
using Kept = std::map<arch::Axis, std::vector<std::int64_t>>;

class Edit {
 public:
  virtual ~Edit() = default;
  // The embeddings [windows, T, H] of the edited model. Empty: those of the exact model.
  virtual std::optional<torch::Tensor> embed(model::Transformer& /*model*/,
                                             const torch::Tensor& /*ids*/, std::int64_t /*batch*/) {
    return std::nullopt;
  }
  // True for an edit whose matrix() is to see every matrix, also where the edited stream is still
  // the exact one and a refit changes nothing.
  virtual bool all_matrices() const { return false; }
  // True where the edit removes the whole block. The edited stream passes by.
  virtual bool removes(const BlockEdit& /*edit*/) const { return false; }
  // True where the edit cuts axes of the block. Then keep() is called.
  virtual bool cuts(const BlockEdit& /*edit*/) const { return false; }
  // What stays of the block's axes. `fitted` is the consumer [H, width] as the pass would refit it
  // with all columns. It is the present one where the pass does not refit.
  virtual Kept keep(const BlockEdit& /*edit*/, const NormalEquations& /*equations*/,
                    const torch::Tensor& /*fitted*/) {
    return {};
  }
  // Takes a refitted matrix and returns the one that the edited model gets. `inputs` are the
  // equations of what the matrix reads. A reader comes with all its rows, before keep() of its
  // block. A consumer comes with the columns that stay.
  virtual torch::Tensor matrix(const BlockEdit& /*edit*/, arch::Role /*role*/,
                               torch::Tensor weights, const NormalEquations& /*inputs*/) {
    return weights;
  }
};

}  // namespace espalier::layerwise
