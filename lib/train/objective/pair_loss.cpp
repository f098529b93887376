// SPDX-License-Identifier: Apache-2.0
// Differentiates a term of states by autograd, apart from the student's own graph.
#include "objective/pair_loss.h"

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"

namespace espalier::objective {

using torch::Tensor;

PairLoss pair_loss(const Term& term, const PairLossInput& in) {
  torch::AutoGradMode with_grad(true);
  std::vector<Tensor> inputs{in.student.detach().requires_grad_(true)};
  std::vector<Tensor> extras;
  for (const Tensor& extra : in.extras) extras.push_back(extra.detach().requires_grad_(true));
  inputs.insert(inputs.end(), extras.begin(), extras.end());
  const Tensor values = term.states.of_pair({inputs[0], in.teacher.detach(), extras});
  ESP_CHECK(values.dim() == 1 && values.size(0) == in.targets.size(0), internal, "the term ",
            term.name, " must give one value for each of ", in.targets.size(0), " tokens");
  const Tensor sum = (values * in.targets.ge(0).to(values.scalar_type())).sum();
  auto gradients = torch::autograd::grad({in.weight * sum}, inputs);
  PairLoss out{sum.item<double>(), gradients[0], {}};
  out.extras.assign(gradients.begin() + 1, gradients.end());
  return out;
}

}  // namespace espalier::objective
