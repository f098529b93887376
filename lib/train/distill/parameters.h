// SPDX-License-Identifier: Apache-2.0
// The trained parameters of a model in one flat buffer each for values, gradients and the
// optimizer's two moments. The model's weights and their gradients become views of it, so backward
// fills it, one loop updates it, and a checkpoint is four numbers and three writes.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "distill/adamw.h"
#include "model/transformer.h"

namespace espalier::distill {

class Parameters {
 public:
  // Trainable weights of `model` in the order of its table, each starting at a multiple of 64
  // bytes; the others lose requires_grad. Matrices are decayed, vectors (norm gains) are not.
  Parameters(model::Transformer& model, bool train_embeddings, double weight_decay);

  std::int64_t size() const { return values_.numel(); }
  float* values() { return values_.mutable_data_ptr<float>(); }
  float* gradients() { return gradients_.mutable_data_ptr<float>(); }
  float* first_moment() { return first_.mutable_data_ptr<float>(); }
  float* second_moment() { return second_.mutable_data_ptr<float>(); }
  const std::vector<Segment>& segments() const { return segments_; }

 private:
  torch::Tensor values_, gradients_, first_, second_;
  std::vector<Segment> segments_;
};

}  // namespace espalier::distill
