// SPDX-License-Identifier: Apache-2.0
// Positions, white space, splitting and replacing.
#include "text/template/python_text.h"

#include <algorithm>

#include "text/utf8.h"

namespace espalier::text::jinja {
namespace {

// Where a line ends for str.splitlines().
bool ends_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

// The last code point of a text that is not empty.
CodePoint last_point(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return code_point_at(text, at);
}

std::vector<std::string> split_space_right(std::string_view text, std::int64_t most) {
  std::vector<std::string> out;
  text = strip(text, Side::right);
  while (!text.empty() && most != 0) {
    std::size_t begin = text.size();
    while (begin > 0) {
      const CodePoint point = last_point(text.substr(0, begin));
      if (is_space(point.value)) break;
      begin -= point.length;
    }
    out.emplace_back(text.substr(begin));
    text = strip(text.substr(0, begin), Side::right);
    --most;
  }
  if (!text.empty()) out.emplace_back(text);
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::size_t count_points(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::size_t byte_at(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    if (index-- == 0) return at;
  }
  return at;
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = code_point_at(text, at).length;
    out.emplace_back(text.substr(at, length));
    at += length;
  }
  return out;
}

std::string_view strip(std::string_view text, Side side,
                       const std::optional<std::string>& characters) {
  const auto drop = [&](const CodePoint& point, std::size_t at) {
    if (!characters) return is_space(point.value);
    return characters->find(text.substr(at, point.length)) != std::string::npos;
  };
  while (side != Side::right && !text.empty()) {
    const CodePoint point = code_point_at(text, 0);
    if (!drop(point, 0)) break;
    text.remove_prefix(point.length);
  }
  while (side != Side::left && !text.empty()) {
    const CodePoint point = last_point(text);
    if (!drop(point, text.size() - point.length)) break;
    text.remove_suffix(point.length);
  }
  return text;
}

std::vector<std::string> split_space(std::string_view text, std::int64_t most, bool from_right) {
  if (from_right) return split_space_right(text, most);
  std::vector<std::string> out;
  text = strip(text, Side::left);
  while (!text.empty() && most != 0) {
    std::size_t end = 0;
    while (end < text.size()) {
      const CodePoint point = code_point_at(text, end);
      if (is_space(point.value)) break;
      end += point.length;
    }
    out.emplace_back(text.substr(0, end));
    text = strip(text.substr(end), Side::left);
    --most;
  }
  if (!text.empty()) out.emplace_back(text);
  return out;
}

std::vector<std::string> split_at(std::string_view text, std::string_view separator,
                                  std::int64_t most, bool from_right) {
  std::vector<std::string> out;
  while (most != 0) {
    const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    out.emplace_back(from_right ? text.substr(at + separator.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator.size());
    --most;
  }
  out.emplace_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> out;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    std::size_t next = at + point.length;
    if (ends_line(point.value)) {
      if (point.value == U'\r' && next < text.size() && text[next] == '\n') ++next;
      out.emplace_back(text.substr(begin, (keep_ends ? next : at) - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) out.emplace_back(text.substr(begin));
  return out;
}

std::size_t count_of(std::string_view text, std::string_view part) {
  if (part.empty()) return count_points(text) + 1;
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size()))
    ++n;
  return n;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::int64_t most) {
  std::string out;
  if (from.empty()) {
    for (std::size_t at = 0;;) {
      if (most != 0) {
        out += to;
        --most;
      }
      if (at >= text.size()) return out;
      const std::size_t length = code_point_at(text, at).length;
      out += text.substr(at, length);
      at += length;
    }
  }
  std::size_t begin = 0;
  for (std::size_t at = text.find(from); at != std::string_view::npos && most != 0;
       at = text.find(from, begin)) {
    out += text.substr(begin, at - begin);
    out += to;
    begin = at + from.size();
    --most;
  }
  return out += text.substr(begin);
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace espalier::text::jinja
