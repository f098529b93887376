// SPDX-License-Identifier: Apache-2.0
// Calls of every operation of the model, at the odd sizes of the families in tests: the inputs that
// get gradients, and what is done with them.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "model/ops/operations.h"

namespace espalier::model {

struct OperationCase {
  std::string operation;  // the member of Operations
  std::string size;       // for people
  std::vector<torch::Tensor> inputs;
  // The other inputs are taken to the device of the first one.
  std::function<torch::Tensor(const Operations&, const std::vector<torch::Tensor>&)> apply;
  // What the two sides may differ by, as a share of 1 + the largest value. They add up in different
  // orders, a few hundred terms at most; bfloat16 keeps 8 bits of what is added.
  double tolerance = 2e-5;
};

// Seeded.
std::vector<OperationCase> operation_cases();

}  // namespace espalier::model
