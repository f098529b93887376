// SPDX-License-Identifier: Apache-2.0
// Depth check and error messages for JSON from untrusted files.
#include "format/json_input.h"

#include <algorithm>

#include "core/error.h"
#include "format/known_file.h"

namespace espalier::format {
namespace {

// The parser quotes the whole token that it rejected, so the quotation is shortened.
constexpr std::size_t kMaxReasonBytes = 200;

// What the parser says, without its name for the error and the place, which it counts within what
// it was given: "unexpected end of input".
std::string_view plain(std::string_view reason) {
  if (reason.starts_with("[json.exception.")) reason.remove_prefix(reason.find("] ") + 2);
  if (reason.starts_with("parse error")) reason.remove_prefix(reason.find(": ") + 2);
  constexpr std::string_view kWhile = "syntax error while parsing ", kBehind = " - ";
  if (const std::size_t behind = reason.find(kBehind);
      reason.starts_with(kWhile) && behind != std::string_view::npos)
    reason.remove_prefix(behind + kBehind.size());
  return reason.substr(0, kMaxReasonBytes);
}

// Whether it ends in the number of a line, as of a file with JSON in each: "a.jsonl:12".
bool names_a_line(std::string_view path) {
  const std::size_t colon = path.rfind(':');
  return colon != std::string_view::npos && colon + 1 < path.size() &&
         path.find_first_not_of("0123456789", colon + 1) == std::string_view::npos;
}

// "a.json:3", with the line of the byte; or the line that the path names.
std::string place_of(const std::string& path, std::string_view text, std::size_t byte) {
  if (names_a_line(path)) return path;
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size()));
  return path + ":" + std::to_string(1 + std::count(text.begin(), end, '\n'));
}

// Whether the parser stopped inside this word.
bool stands_at(std::string_view text, std::size_t at, std::string_view word) {
  const std::size_t begin = at < word.size() ? 0 : at - word.size() + 1;
  const std::size_t found = text.find(word, begin);
  return found != std::string_view::npos && found <= at;
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
      ESP_CHECK(++depth <= kMaxJsonDepth, input, place_of(path, text, i), ": more than ",
                kMaxJsonDepth, " levels of nesting at byte ", i);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

void refuse_json(std::string_view text, const std::string& path, std::size_t byte,
                 std::string_view reason) {
  if (const std::string_view known = what_it_is(text); !known.empty() && !names_a_line(path))
    core::fail(core::ErrorKind::input, path, ": ", known);
  reason = plain(reason);
  for (const std::string_view word : {"NaN", "-Infinity", "Infinity"})
    if (byte > 0 && stands_at(text, byte - 1, word))
      core::fail(core::ErrorKind::input, place_of(path, text, byte), ": ", word,
                 ", which Python writes, is no JSON; put null in its place if nothing needs it");
  if (byte == 0) core::fail(core::ErrorKind::input, path, ": not JSON (", reason, ")");
  core::fail(core::ErrorKind::input, place_of(path, text, byte), ": not JSON at byte ", byte,
             names_a_line(path) ? " of the line (" : " (", reason, ")");
}

}  // namespace espalier::format
