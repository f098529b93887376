// SPDX-License-Identifier: Apache-2.0
// Positions in a forest, and the forest that passes of this thread read.
#include "model/forest.h"

#include <algorithm>

namespace espalier::model {
namespace {

thread_local const Forest* read_forest = nullptr;

}  // namespace

ReadForest::ReadForest(const Forest& forest) : before_(read_forest) { read_forest = &forest; }
ReadForest::~ReadForest() { read_forest = before_; }
const Forest* ReadForest::current() { return read_forest; }

void Forest::add(const Tree& tree) {
  trees.push_back(tree);
  for (std::int64_t i = 0; i < tree.trunk; ++i) positions.push_back(i);
  for (const std::int64_t branch : tree.branches)
    for (std::int64_t i = 0; i < branch; ++i) positions.push_back(tree.trunk + i);
}

std::int64_t Forest::longest() const {
  return positions.empty() ? 0 : 1 + *std::max_element(positions.begin(), positions.end());
}

torch::Tensor Forest::rows(const torch::Tensor& table) const {
  return table.index_select(0, torch::tensor(positions).to(table.device()));
}

}  // namespace espalier::model
