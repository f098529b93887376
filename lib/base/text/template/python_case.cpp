// SPDX-License-Identifier: Apache-2.0
// Upper and lower case, and classes of characters.
#include <utf8proc.h>

#include "text/template/python_text.h"
#include "text/template/value.h"
#include "text/utf8.h"

namespace espalier::text::jinja {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// Characters whose upper or title case is more than one character (SpecialCasing.txt of Unicode).
bool widens(char32_t c) {
  return c == 0x149 || c == 0x1F0 || c == 0x390 || c == 0x3B0 || c == 0x587 ||
         (c >= 0x1E96 && c <= 0x1E9A) || (c >= 0x1F50 && c <= 0x1FFC && c % 2 == 0) ||
         (c >= 0x1F80 && c <= 0x1FFC) || (c >= 0xFB00 && c <= 0xFB17);
}

void append_upper(std::string& out, char32_t c) {
  if (c == 0xDF) {
    out += "SS";
    return;
  }
  if (widens(c)) {
    std::string shown;
    append_code_point(shown, c);
    throw Fault("the upper case of '" + shown + "' is not supported");
  }
  append_code_point(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

// Sigma at the end of a word has a form of its own. before: a letter stands before it.
void append_lower(std::string& out, char32_t c, bool before, std::string_view rest) {
  if (c == 0x130) {
    out += "i\xCC\x87";
  } else if (c == 0x3A3) {
    const bool after = !rest.empty() && is_letter(code_point_at(rest, 0).value);
    append_code_point(out, before && !after ? 0x3C2 : 0x3C3);
  } else {
    append_code_point(out,
                      static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }
bool is_title(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }

// Every character in the case that `upper(c, previous)` asks for; previous is 0 at the beginning.
std::string with_case(std::string_view text, const std::function<bool(char32_t, char32_t)>& upper) {
  std::string out;
  char32_t previous = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    at += point.length;
    if (upper(point.value, previous))
      append_upper(out, point.value);
    else
      append_lower(out, point.value, is_letter(previous), text.substr(at));
    previous = point.value;
  }
  return out;
}

bool all_cased(std::string_view text, bool upper) {
  bool cased = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    at += point.length;
    const bool is_up = is_upper(point.value), is_low = is_lower(point.value);
    if ((upper ? is_low : is_up) || is_title(point.value)) return false;
    cased = cased || is_up || is_low;
  }
  return cased;
}

}  // namespace

std::string to_lower(std::string_view text) {
  return with_case(text, [](char32_t, char32_t) { return false; });
}
std::string to_upper(std::string_view text) {
  return with_case(text, [](char32_t, char32_t) { return true; });
}
std::string capitalized(std::string_view text) {
  return with_case(text, [](char32_t, char32_t previous) { return previous == 0; });
}
std::string title_by_space(std::string_view text) {
  return with_case(text, [](char32_t, char32_t previous) {
    return previous == 0 || is_space(previous) || previous == U'-' || previous == U'(' ||
           previous == U'{' || previous == U'[' || previous == U'<';
  });
}
std::string title_by_letter(std::string_view text) {
  return with_case(text, [](char32_t, char32_t previous) {
    return !is_lower(previous) && !is_upper(previous) && !is_title(previous);
  });
}
std::string swapped_case(std::string_view text) {
  return with_case(text, [](char32_t c, char32_t) { return is_lower(c); });
}

bool all_lower(std::string_view text) { return all_cased(text, false); }
bool all_upper(std::string_view text) { return all_cased(text, true); }

bool all_of(std::string_view text, const std::function<bool(char32_t)>& is) {
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    at += point.length;
    if (!is(point.value)) return false;
  }
  return !text.empty();
}

bool is_letter(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
}
bool is_numeric(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

}  // namespace espalier::text::jinja
