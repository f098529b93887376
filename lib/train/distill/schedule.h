// SPDX-License-Identifier: Apache-2.0
// The learning rate: linear warm-up over warmup_ratio of the steps, then down to final_ratio of the
// peak at the last step, along the curve of a schedule. A schedule is one file in schedules/ and
// one line in schedules.inc.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "distill/schedule_names.h"

namespace espalier::distill {

struct Schedule {
  std::string_view name;
  // The share of the peak. progress: 0 at the first step behind the warm-up, 1 at the last step.
  double (*share)(double progress, double final_ratio);
  bool uses_final_ratio = true;
};

std::span<const Schedule* const> all_schedules();
const Schedule& schedule_by_name(std::string_view name);  // Error(usage) names the nearest name

struct RateOptions {
  double peak, warmup_ratio, final_ratio;
};
// `step` counts from 0.
double learning_rate(const Schedule& schedule, std::int64_t step, std::int64_t steps,
                     const RateOptions& options);

}  // namespace espalier::distill
