// SPDX-License-Identifier: Apache-2.0
// What a file is that stands where another was expected, by its first bytes: a pointer of Git LFS,
// a web page, an archive.
#pragma once
#include <string>
#include <string_view>

namespace espalier::format {

// "is compressed by gzip; unpack it first", by the first bytes or all of a file. Empty for a file
// that is not known.
std::string_view what_it_is(std::string_view beginning);
// Error(input) for a file that is known. For use where a file is not what was expected.
void refuse_known_file(const std::string& path);

}  // namespace espalier::format
