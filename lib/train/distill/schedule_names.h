// SPDX-License-Identifier: Apache-2.0
// The names in schedules.inc, for descriptions of options.
#pragma once
#include <string>
#include <vector>

namespace espalier::distill {

std::vector<std::string> schedule_names();

}  // namespace espalier::distill
