// SPDX-License-Identifier: Apache-2.0
// UTF-8: decoding of single code points, replacement of broken parts, and canonical composition
// (NFC). White space and letter classes are not here. The regular expressions of the pre-tokenizer
// bring their own.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace espalier::text {

struct CodePoint {
  char32_t value = 0;  // U+FFFD when not valid
  // Bytes taken, at least 1. When not valid, the longest part that could have begun a code point.
  std::size_t length = 0;
  bool valid = false;
};

// The code point at `position` (which must be inside the text).
CodePoint code_point_at(std::string_view text, std::size_t position);
void append_code_point(std::string& out, char32_t value);
bool is_valid_utf8(std::string_view text);
// Each maximal broken part becomes U+FFFD, as with Python's errors="replace".
std::string replace_broken_utf8(std::string_view text);
// Unicode normalization form C of valid UTF-8. Takes at most n log n time, whatever the order of
// combining marks.
std::string to_nfc(std::string_view text);
// The length in bytes of the white space (Unicode White_Space) that begins or ends the text.
std::size_t leading_space_bytes(std::string_view text);
std::size_t trailing_space_bytes(std::string_view text);
// `from` must not be empty.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace espalier::text
