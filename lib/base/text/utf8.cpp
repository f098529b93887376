// SPDX-License-Identifier: Apache-2.0
// UTF-8 decoding after table 3-7 of the Unicode standard. The range of the second byte depends on
// the first. So overlong forms, surrogates and values above U+10FFFF end at the first byte that
// cannot continue.
#include "text/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/error.h"

namespace espalier::text {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

unsigned byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

// Below U+0300 every code point is its own composed form and combines with no neighbour.
bool is_trivially_composed(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t position) {
  const unsigned first = byte_at(text, position);
  if (first < 0x80) return {static_cast<char32_t>(first), 1, true};
  unsigned low = 0x80, high = 0xBF;
  std::size_t length = 0;
  char32_t value = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
    value = first & 0x1Fu;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    value = first & 0x0Fu;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    value = first & 0x07u;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {kReplacement, 1, false};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (position + i >= text.size()) return {kReplacement, i, false};
    const unsigned next = byte_at(text, position + i);
    if (next < low || next > high) return {kReplacement, i, false};
    value = (value << 6) | (next & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {value, length, true};
}

void append_code_point(std::string& out, char32_t value) {
  const auto put = [&out](char32_t byte) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
  };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | (value >> 6));
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | (value >> 12));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | (value >> 18));
    put(0x80 | ((value >> 12) & 0x3F));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

bool is_valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    if (!point.valid) return false;
    i += point.length;
  }
  return true;
}

std::string replace_broken_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    if (point.valid) {
      out.append(text.substr(i, point.length));
    } else {
      append_code_point(out, kReplacement);
    }
    i += point.length;
  }
  return out;
}

std::string to_nfc(std::string_view text) {
  if (is_trivially_composed(text)) return std::string(text);
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    std::array<utf8proc_int32_t, 32> parts{};
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(point.value), parts.data(),
        static_cast<utf8proc_ssize_t>(parts.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE), &boundary);
    ESP_CHECK(n >= 0 && n <= static_cast<utf8proc_ssize_t>(parts.size()), internal,
              "cannot decompose U+", static_cast<std::uint32_t>(point.value), ": ",
              utf8proc_errmsg(n));
    points.insert(points.end(), parts.begin(), parts.begin() + n);
    i += point.length;
  }
  // Sorts into canonical order. utf8proc would do so by swapping neighbours, which is quadratic for
  // a long run of marks.
  const auto combining_class = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  for (std::size_t i = 0; i < points.size();) {
    if (combining_class(points[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < points.size() && combining_class(points[end]) != 0) ++end;
    std::stable_sort(points.begin() + static_cast<std::ptrdiff_t>(i),
                     points.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](utf8proc_int32_t a, utf8proc_int32_t b) {
                       return combining_class(a) < combining_class(b);
                     });
    i = end;
  }
  const utf8proc_ssize_t n =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  ESP_CHECK(n >= 0, internal, "cannot compose text: ", utf8proc_errmsg(n));
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < n; ++i)
    append_code_point(out, static_cast<char32_t>(points[static_cast<std::size_t>(i)]));
  return out;
}

std::size_t leading_space_bytes(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const CodePoint point = code_point_at(text, i);
    if (!is_space(point.value)) break;
    i += point.length;
  }
  return i;
}

std::size_t trailing_space_bytes(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t start = end - 1;
    while (start > 0 && (byte_at(text, start) & 0xC0u) == 0x80u) --start;
    if (!is_space(code_point_at(text, start).value)) break;
    end = start;
  }
  return text.size() - end;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  std::size_t position = 0;
  for (std::size_t hit = text.find(from); hit != std::string_view::npos;
       hit = text.find(from, position)) {
    out.append(text.substr(position, hit - position)).append(to);
    position = hit + from.size();
  }
  return out.append(text.substr(position));
}

}  // namespace espalier::text
