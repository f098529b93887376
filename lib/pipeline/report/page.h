// SPDX-License-Identifier: Apache-2.0
// The fixed parts of the page: the style, and the script that draws the charts from the embedded
// data. Internal to lib/pipeline/report.
#pragma once

namespace espalier::report {

extern const char* const kStyle;
extern const char* const kScript;

}  // namespace espalier::report
