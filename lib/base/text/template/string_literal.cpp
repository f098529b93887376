// SPDX-License-Identifier: Apache-2.0
// Escapes: one letter, octal, \x, \u and \U.
#include "text/template/string_literal.h"

#include <cstdint>

#include "text/template/lexer.h"
#include "text/utf8.h"

namespace espalier::text::jinja {
namespace {

int digit_of(char c, int base) {
  int value = 99;
  if (c >= '0' && c <= '9') value = c - '0';
  if (c >= 'a' && c <= 'f') value = c - 'a' + 10;
  if (c >= 'A' && c <= 'F') value = c - 'A' + 10;
  return value < base ? value : -1;
}

// Reads at most `most` digits at `at` and moves behind them. Returns how many there were.
std::size_t read_digits(std::string_view text, std::size_t& at, int base, std::size_t most,
                        std::uint32_t& value) {
  std::size_t n = 0;
  for (; n < most && at < text.size() && digit_of(text[at], base) >= 0; ++n, ++at)
    value = value * static_cast<std::uint32_t>(base) +
            static_cast<std::uint32_t>(digit_of(text[at], base));
  return n;
}

void append_number(std::string& out, std::uint32_t value, int line) {
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
    throw SyntaxFault{line, "a string has an escape that is no character"};
  append_code_point(out, value);
}

// The escape at `at`, behind its backslash.
void append_escaped(std::string& out, std::string_view text, std::size_t& at, int line) {
  static constexpr std::string_view kLetters = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
  const char c = text[at];
  std::uint32_t value = 0;
  if (const std::size_t i = kLetters.find(c); i != std::string_view::npos) {
    out += kValues[i];
    ++at;
  } else if (c == '\n') {
    ++at;
  } else if (digit_of(c, 8) >= 0) {
    read_digits(text, at, 8, 3, value);
    append_number(out, value, line);
  } else if (c == 'x' || c == 'u' || c == 'U') {
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    ++at;
    if (read_digits(text, at, 16, digits, value) != digits)
      throw SyntaxFault{line, std::string("a string has \\") + c + " without " +
                                  std::to_string(digits) + " hexadecimal digits"};
    append_number(out, value, line);
  } else if (c == 'N') {
    throw SyntaxFault{line, "characters by name (\\N) are not supported"};
  } else {
    out += '\\';
  }
}

}  // namespace

std::string unescaped(std::string_view literal, int line) {
  std::string out;
  for (std::size_t at = 0; at < literal.size();) {
    if (literal[at] != '\\' || at + 1 == literal.size()) {
      out += literal[at++];
      continue;
    }
    ++at;
    append_escaped(out, literal, at, line);
  }
  return out;
}

}  // namespace espalier::text::jinja
