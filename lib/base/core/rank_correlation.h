// SPDX-License-Identifier: Apache-2.0
// Spearman's rank correlation: Pearson's of the ranks.
#pragma once
#include <vector>

namespace espalier::core {

// Of two lists of equal length, with mean ranks for ties. NaN where one of them is constant.
double spearman(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace espalier::core
