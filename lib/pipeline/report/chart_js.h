// SPDX-License-Identifier: Apache-2.0
// The source of Chart.js as text. Internal to lib/pipeline/report.
#pragma once
#include <string_view>

namespace espalier::report {

std::string_view chart_js();

}  // namespace espalier::report
