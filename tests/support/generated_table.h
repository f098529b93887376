// SPDX-License-Identifier: Apache-2.0
// A table that a test writes into a document, between "<!-- NAME: written by FILE -->" and
// "<!-- end of NAME -->". The test fails while the document says something else. With
// ESPALIER_UPDATE=1 in the environment it writes the table anew.
#pragma once
#include <string>
#include <string_view>

namespace espalier::support {

// `document` and `test_file` are relative to the source directory; `table` ends with a line break.
void expect_table_in(const std::string& document, std::string_view name, std::string_view test_file,
                     const std::string& table);

}  // namespace espalier::support
