// SPDX-License-Identifier: Apache-2.0
// Lines of a text, and which files have JSON in each: *.jsonl and *.ndjson, in any case.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string_view>

namespace espalier::text {

// Calls each(line, number) for every line, numbered from 1, without its line break.
template <typename Each>
void for_each_line(std::string_view text, const Each& each) {
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    each(line, ++number);
  }
}

inline bool is_blank(std::string_view line) { return line.find_first_not_of(" \t") == line.npos; }

inline bool has_json_lines(std::string_view path) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  for (const std::string_view ending : {".jsonl", ".ndjson"})
    if (path.size() >= ending.size() && std::equal(ending.rbegin(), ending.rend(), path.rbegin(),
                                                   [&](char a, char b) { return a == lower(b); }))
      return true;
  return false;
}

}  // namespace espalier::text
