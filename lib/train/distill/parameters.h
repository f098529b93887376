// SPDX-License-Identifier: Apache-2.0
// The trained parameters in flat buffers: values, gradients, and the optimizer's two
// moments. The model's weights and their gradients become views of these buffers. So backward fills
// them and one loop updates them.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "distill/adamw.h"
#include "model/transformer.h"

namespace espalier::distill {

class Parameters {
 public:
  // Takes the trainable weights of `model` in the order of its table, each starting at a multiple
  // of 64 bytes. Other weights lose requires_grad. Weight decay applies to matrices, not to vectors
  // (gains of norms).
  //
  // `extras` are trained beside the model and follow its weights. They become views too, and do not
  // decay.
  Parameters(model::Transformer& model, bool train_embeddings, double weight_decay,
             std::span<torch::Tensor> extras);

  std::int64_t size() const { return values_.numel(); }
  float* values() { return values_.mutable_data_ptr<float>(); }
  float* gradients() { return gradients_.mutable_data_ptr<float>(); }
  float* first_moment() { return first_.mutable_data_ptr<float>(); }
  float* second_moment() { return second_.mutable_data_ptr<float>(); }
  // What a step depends on; the tensors share their values with this object.
  std::map<std::string, torch::Tensor> state() const {
    return {{"values", values_}, {"first_moment", first_}, {"second_moment", second_}};
  }
  const std::vector<Segment>& segments() const { return segments_; }

 private:
  torch::Tensor values_, gradients_, first_, second_;
  std::vector<Segment> segments_;
};

}  // namespace espalier::distill
