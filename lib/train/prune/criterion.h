// SPDX-License-Identifier: Apache-2.0
// Importance of every index of one axis in one layer: a pure function of statistics and weights.
// One file per criterion in criteria/, one line in criteria.inc.
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
  // Scores [size of axis]; layer -1 for hidden and vocab. Larger = more important.
  std::vector<double> (*score)(const CriterionInput& input, arch::Axis axis, int layer);
};
std::span<const Criterion* const> all_criteria();
const Criterion& criterion_by_name(std::string_view name);  // Error(usage) with the list
// Indices of the n highest scores, sorted; of equal ones the lower index.
std::vector<std::int64_t> keep_highest(const std::vector<double>& scores, std::int64_t n);

}  // namespace espalier::prune
