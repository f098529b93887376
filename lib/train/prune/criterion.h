// SPDX-License-Identifier: Apache-2.0
// The importance of every index of one axis in one layer: a pure function of statistics and
// weights. A criterion is one file in criteria/ and one line in criteria.inc.
#pragma once
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/arch.h"
#include "prune/statistics.h"

namespace espalier::prune {

struct CriterionInput {
  const model::Transformer& model;
  const Statistics& statistics;
};
struct Criterion {
  std::string_view name;
  std::string_view source;  // the paper
  std::set<Statistic> needs;
  std::set<arch::Axis> axes;  // that it can score
  // Returns scores [size of axis]. layer is -1 for hidden and vocab. Larger scores are more
  // important.
  std::vector<double> (*score)(const CriterionInput& input, arch::Axis axis, int layer);
};
std::span<const Criterion* const> all_criteria();
const Criterion& criterion_by_name(std::string_view name);  // Error(usage) lists the names
// Error(input) for a score that is not finite.
void require_finite(const std::vector<double>& scores);
// The indices of the n highest scores, sorted. Among equal scores, the lower index. Error(input)
// for a score that is not finite.
std::vector<std::int64_t> keep_highest(const std::vector<double>& scores, std::int64_t n);

}  // namespace espalier::prune
