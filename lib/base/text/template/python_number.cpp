// SPDX-License-Identifier: Apache-2.0
// White space around a number and single underscores between digits are allowed. Digits of other
// scripts are not read.
#include "text/template/python_number.h"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <string>

#include "text/template/python_text.h"
#include "text/template/value.h"

namespace espalier::text::jinja {
namespace {

bool ascii_digit(char c) { return c >= '0' && c <= '9'; }

// Without white space and underscores. Nothing when an underscore stands elsewhere than between
// digits.
std::optional<std::string> plain_number(std::string_view text) {
  text = strip(text, Side::both);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || !ascii_digit(text[i - 1]) ||
               !ascii_digit(text[i + 1])) {
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace

std::optional<std::int64_t> parse_whole(std::string_view text) {
  const std::optional<std::string> plain = plain_number(text);
  if (!plain) return std::nullopt;
  std::string_view digits = *plain;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || (plain->front() == '+' && digits.front() == '-')) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) throw Fault("a number does not fit into 64 bits");
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_real(std::string_view text) {
  const std::optional<std::string> plain = plain_number(text);
  if (!plain || plain->empty()) return std::nullopt;
  std::string word;
  for (const char c : *plain)
    if (c != '+' && c != '-') word += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  const std::size_t sign = plain->front() == '+' || plain->front() == '-' ? 1 : 0;
  const double direction = plain->front() == '-' ? -1 : 1;
  if (plain->size() == word.size() + sign) {
    if (word == "inf" || word == "infinity")
      return direction * std::numeric_limits<double>::infinity();
    if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  }
  if (plain->find_first_not_of("0123456789+-.eE") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(plain->c_str(), &end);
  return end == plain->c_str() + plain->size() ? std::optional(value) : std::nullopt;
}

}  // namespace espalier::text::jinja
