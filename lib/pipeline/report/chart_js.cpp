// SPDX-License-Identifier: Apache-2.0
// Chart.js as found at build time (MIT), kept in an object of its own: compiling 200 kB of array
// takes a moment.
#include "report/chart_js.h"

namespace espalier::report {
namespace {

constexpr unsigned char kChartJs[] = {
#include "report/chart_js.inc"
};

}  // namespace

std::string_view chart_js() { return {reinterpret_cast<const char*>(kChartJs), sizeof kChartJs}; }

}  // namespace espalier::report
