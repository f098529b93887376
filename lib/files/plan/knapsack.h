// SPDX-License-Identifier: Apache-2.0
// The multiple-choice knapsack problem: one option of every item, of least loss in all, under a
// budget of costs. Formats of tensors under bytes, sizes of blocks under parameters.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace espalier::plan {

// The options of one item: at least one, in any order.
struct CostsAndLosses {
  std::vector<std::int64_t> costs;
  std::vector<double> losses;  // finite
};
// Of the cheapest option of every item.
std::int64_t smallest_cost(const std::vector<CostsAndLosses>& items);
// The option of each item. The same input gives the same choice. The budget has to reach
// smallest_cost().
std::vector<std::size_t> least_loss_within(const std::vector<CostsAndLosses>& items,
                                           std::int64_t budget);

}  // namespace espalier::plan
