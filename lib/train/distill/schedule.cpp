// SPDX-License-Identifier: Apache-2.0
// The list of schedules, and the rate of a step.
#include "distill/schedule.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/units.h"

namespace espalier::distill {

#define ESP_SCHEDULE(name) extern const Schedule k_##name;
#include "distill/schedules.inc"
#undef ESP_SCHEDULE

std::span<const Schedule* const> all_schedules() {
  static const Schedule* const list[] = {
#define ESP_SCHEDULE(name) &k_##name,
#include "distill/schedules.inc"
#undef ESP_SCHEDULE
  };
  return list;
}

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const Schedule* schedule : all_schedules()) names.emplace_back(schedule->name);
  return names;
}

const Schedule& schedule_by_name(std::string_view name) {
  for (const Schedule* schedule : all_schedules())
    if (schedule->name == name) return *schedule;
  const std::vector<std::string> names = schedule_names();
  const std::string nearest = core::nearest_name(name, names.data(), names.size());
  core::fail(core::ErrorKind::usage, "unknown schedule '", name, "'",
             nearest.empty() ? "" : "; did you mean '" + nearest + "'?");
}

double learning_rate(const Schedule& schedule, std::int64_t step, std::int64_t steps,
                     const RateOptions& o) {
  const auto warmup =
      static_cast<std::int64_t>(std::ceil(o.warmup_ratio * static_cast<double>(steps)));
  if (step < warmup) return o.peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double progress = static_cast<double>(step - warmup) /
                          static_cast<double>(std::max<std::int64_t>(1, steps - 1 - warmup));
  return o.peak * schedule.share(std::min(1.0, progress), o.final_ratio);
}

}  // namespace espalier::distill
