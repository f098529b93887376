// SPDX-License-Identifier: Apache-2.0
// A term of states on one pair of layers, with its gradients. The counterpart of chunked_loss.h for
// terms that read no logits. Works in the dtype of its inputs.
#pragma once
#include <torch/types.h>

#include <vector>

#include "objective/term.h"

namespace espalier::objective {

struct PairLossInput {
  torch::Tensor student;  // [n, width]
  torch::Tensor teacher;  // [n, width of the teacher]
  torch::Tensor targets;  // int64 [n], -1: not scored (mask)
  std::vector<torch::Tensor> extras;
  double weight = 1;  // of the gradients
};
struct PairLoss {
  double sum = 0;                     // over scored tokens, without the weight
  torch::Tensor gradient;             // d (weight * sum) / d student, [n, width]
  std::vector<torch::Tensor> extras;  // likewise by the extras
};
PairLoss pair_loss(const Term& term, const PairLossInput& input);

}  // namespace espalier::objective
