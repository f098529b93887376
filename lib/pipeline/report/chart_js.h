// SPDX-License-Identifier: Apache-2.0
// Internal to lib/pipeline/report.
#pragma once
#include <string_view>

namespace espalier::report {

std::string_view chart_js();

}  // namespace espalier::report
