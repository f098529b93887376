// SPDX-License-Identifier: Apache-2.0
// Scores of the dense model by several criteria, side by side: how important each layer is, and how
// much the criteria agree. Internal to lib/pipeline/compare.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "prune/scores.h"

namespace espalier::compare {

struct NamedScores {
  std::string name;
  prune::Scores scores;
};
// [{"axis", "names", "layers": [[one for each name] ..]}]: mean scores of each layer, over the
// largest of the name. Null where there are none.
nlohmann::ordered_json importance_of(const std::vector<NamedScores>& all);
// [{"axis", "names", "values"}]: Spearman's correlation, mean over the layers that both have.
nlohmann::ordered_json correlation_of(const std::vector<NamedScores>& all);

}  // namespace espalier::compare
