// SPDX-License-Identifier: Apache-2.0
#include "support/generated_table.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/file.h"

namespace espalier::support {

void expect_table_in(const std::string& document, std::string_view name, std::string_view test_file,
                     const std::string& table) {
  const std::string path = std::string(ESPALIER_SOURCE_DIR "/") + document,
                    begin_mark = "<!-- " + std::string(name) + ": written by " +
                                 std::string(test_file) + " -->\n",
                    end_mark = "<!-- end of " + std::string(name) + " -->\n";
  std::string text = core::read_text_file(path);
  const std::size_t mark = text.find(begin_mark), end = text.find(end_mark);
  ASSERT_TRUE(mark != std::string::npos && end != std::string::npos && mark < end)
      << path << ": the marks " << begin_mark << "and " << end_mark << "are missing";
  const std::size_t begin = mark + begin_mark.size();
  if (std::getenv("ESPALIER_UPDATE") != nullptr) {
    text.replace(begin, end - begin, table);
    core::write_text_file(path, text);
    return;
  }
  EXPECT_EQ(text.substr(begin, end - begin), table)
      << "run this test with ESPALIER_UPDATE=1 and look at what changed in " << document;
}

}  // namespace espalier::support
