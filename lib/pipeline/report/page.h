// SPDX-License-Identifier: Apache-2.0
// The fixed parts of pages: the style, and the scripts that draw charts from the embedded data.
// Internal to lib/pipeline/report.
#pragma once

namespace espalier::report {

extern const char* const kStyle;          // of all pages
extern const char* const kPrelude;        // before a page's script: data, colours, draw()
extern const char* const kScript;         // of the report of a run
extern const char* const kCompareScript;  // of a comparison
extern const char* const kDrawn;          // after it: how many charts there are

}  // namespace espalier::report
