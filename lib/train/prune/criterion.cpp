// SPDX-License-Identifier: Apache-2.0
// The list of criteria, and selection by score.
#include "prune/criterion.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/units.h"
#include "prune/pruner.h"

namespace espalier::prune {

#define ESP_CRITERION(name) extern const Criterion k_##name;
#include "prune/criteria.inc"
#undef ESP_CRITERION

std::span<const Criterion* const> all_criteria() {
  static const Criterion* const list[] = {
#define ESP_CRITERION(name) &k_##name,
#include "prune/criteria.inc"
#undef ESP_CRITERION
  };
  return list;
}

std::vector<std::pair<std::string, std::string>> criterion_names() {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Criterion* c : all_criteria()) out.emplace_back(c->name, c->source);
  return out;
}

const Criterion& criterion_by_name(std::string_view name) {
  std::vector<std::string> names;
  std::string list;
  for (const Criterion* c : all_criteria()) {
    if (c->name == name) return *c;
    names.emplace_back(c->name);
    list += (list.empty() ? "" : ", ") + names.back();
  }
  const std::string nearest = core::nearest_name(name, names.data(), names.size());
  core::fail(core::ErrorKind::usage, "unknown criterion '", name, "'",
             nearest.empty() ? "" : "; did you mean '" + nearest + "'?", " (known: ", list, ")");
}

void require_finite(const std::vector<double>& scores) {
  for (std::size_t i = 0; i < scores.size(); ++i)
    ESP_CHECK(std::isfinite(scores[i]), input, "the score of index ", i, " is ", scores[i],
              ": activations of this text exceed the range of floating point, so that nothing can "
              "be ranked");
}

std::vector<std::int64_t> keep_highest(const std::vector<double>& scores, std::int64_t n) {
  require_finite(scores);
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(n));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace espalier::prune
