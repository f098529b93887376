// SPDX-License-Identifier: Apache-2.0
// Chart.js as found at build time (MIT). It has its own object file, because compiling an array of
// 200 kB takes a moment.
#include "report/chart_js.h"

namespace espalier::report {
namespace {

constexpr unsigned char kChartJs[] = {
#include "report/chart_js.inc"
};

}  // namespace

std::string_view chart_js() { return {reinterpret_cast<const char*>(kChartJs), sizeof kChartJs}; }

}  // namespace espalier::report
