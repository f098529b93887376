// SPDX-License-Identifier: Apache-2.0
// White space as Python counts it, and letter cases from utf8proc's tables with the exceptions that
// need several letters or a look at the neighbours (Unicode, SpecialCasing.txt).
#include "tasks/python_text.h"

#include <utf8proc.h>

#include "text/utf8.h"

namespace espalier::tasks {
namespace {

// str.isspace(): Unicode's White_Space and the four separators of ASCII.
bool is_white(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::u32string letters_of(std::string_view text) {
  std::u32string out;
  for (std::size_t at = 0; at < text.size();) {
    const text::CodePoint c = text::code_point_at(text, at);
    out.push_back(c.value);
    at += c.length;
  }
  return out;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}
bool is_cased(char32_t c) {
  const utf8proc_category_t of = category(c);
  return of == UTF8PROC_CATEGORY_LU || of == UTF8PROC_CATEGORY_LL || of == UTF8PROC_CATEGORY_LT;
}
// Marks, formats, modifiers, and punctuation inside of words.
bool is_ignored(char32_t c) {
  const utf8proc_category_t of = category(c);
  return of == UTF8PROC_CATEGORY_MN || of == UTF8PROC_CATEGORY_ME || of == UTF8PROC_CATEGORY_CF ||
         of == UTF8PROC_CATEGORY_LM || of == UTF8PROC_CATEGORY_SK || c == U'\'' || c == U'.' ||
         c == U':' || c == 0xB7 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027;
}
// Whether a capital sigma ends a word: a letter before it, and none behind.
bool ends_word(const std::u32string& letters, std::size_t at) {
  std::size_t before = at, behind = at + 1;
  while (before > 0 && is_ignored(letters[before - 1])) --before;
  while (behind < letters.size() && is_ignored(letters[behind])) ++behind;
  return before > 0 && is_cased(letters[before - 1]) &&
         (behind == letters.size() || !is_cased(letters[behind]));
}

void append_small(std::string& out, const std::u32string& letters, std::size_t at) {
  const char32_t c = letters[at];
  if (c == 0x130) {  // I with a dot
    out += "i\u0307";
  } else if (c == 0x3A3 && ends_word(letters, at)) {
    out += "\u03C2";
  } else {
    text::append_code_point(
        out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

struct Title {
  char32_t letter;
  const char* title;
};
constexpr Title kTitles[] = {{0xDF, "Ss"},        {0x149, "\u02BCN"},  {0x1F0, "J\u030C"},
                             {0x1E96, "H\u0331"}, {0x1E97, "T\u0308"}, {0x1E98, "W\u030A"},
                             {0x1E99, "Y\u030A"}, {0x1E9A, "A\u02BE"}, {0xFB00, "Ff"},
                             {0xFB01, "Fi"},      {0xFB02, "Fl"},      {0xFB03, "Ffi"},
                             {0xFB04, "Ffl"},     {0xFB05, "St"},      {0xFB06, "St"}};

void append_title(std::string& out, char32_t c) {
  for (const Title& title : kTitles)
    if (title.letter == c) {
      out += title.title;
      return;
    }
  text::append_code_point(
      out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

}  // namespace

std::int64_t characters(std::string_view text) {
  return static_cast<std::int64_t>(letters_of(text).size());
}

std::size_t trailing_white_bytes(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const text::CodePoint c = text::code_point_at(text, at);
    at += c.length;
    if (!is_white(c.value)) end = at;
  }
  return text.size() - end;
}

std::string_view strip(std::string_view text) {
  text.remove_suffix(trailing_white_bytes(text));
  while (!text.empty()) {
    const text::CodePoint c = text::code_point_at(text, 0);
    if (!is_white(c.value)) break;
    text.remove_prefix(c.length);
  }
  return text;
}

std::string capitalize(std::string_view text) {
  const std::u32string letters = letters_of(text);
  std::string out;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (i == 0)
      append_title(out, letters[i]);
    else
      append_small(out, letters, i);
  }
  return out;
}

}  // namespace espalier::tasks
