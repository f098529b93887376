// SPDX-License-Identifier: Apache-2.0
// The trained parameters in flat buffers on the model's device: values, gradients, and the
// optimizer's two moments. The model's weights and their gradients become views of these buffers.
// So backward fills them and one loop updates them.
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

  const torch::Tensor& gradients() const { return gradients_; }
  AdamWState buffers() const { return {values_, gradients_, first_, second_}; }
  // What a step depends on, on the host. On the CPU the tensors share their values with this
  // object; for another device they are copies, and set_state() copies back.
  std::map<std::string, torch::Tensor> state() const {
    return {{"values", values_.cpu()},
            {"first_moment", first_.cpu()},
            {"second_moment", second_.cpu()}};
  }
  void set_state(const std::map<std::string, torch::Tensor>& state);
  const std::vector<Segment>& segments() const { return segments_; }

 private:
  torch::Tensor values_, gradients_, first_, second_;
  std::vector<Segment> segments_;
};

}  // namespace espalier::distill
