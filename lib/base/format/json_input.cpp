// SPDX-License-Identifier: Apache-2.0
// Depth check and error messages for JSON from untrusted files.
#include "format/json_input.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::format {
namespace {

// The parser quotes the whole token that it rejected, so the quotation is shortened.
constexpr std::size_t kMaxReasonBytes = 200;

std::int64_t line_of(std::string_view text, std::size_t byte) {
  return 1 + std::count(text.begin(),
                        text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size())),
                        '\n');
}

}  // namespace

void check_json_depth(std::string_view text, const std::string& path) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ESP_CHECK(++depth <= kMaxJsonDepth, input, path, ":", line_of(text, i), ": more than ",
                kMaxJsonDepth, " levels of nesting at byte ", i);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

void refuse_json(std::string_view text, const std::string& path, std::size_t byte,
                 std::string_view reason) {
  reason = reason.substr(0, kMaxReasonBytes);
  if (byte == 0) core::fail(core::ErrorKind::input, path, ": not JSON (", reason, ")");
  core::fail(core::ErrorKind::input, path, ":", line_of(text, byte), ": not JSON at byte ", byte,
             " (", reason, ")");
}

}  // namespace espalier::format
