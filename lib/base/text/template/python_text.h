// SPDX-License-Identifier: Apache-2.0
// Operations on texts as Python's str has them. Positions count code points. All texts are valid
// UTF-8, and so are the results.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::text::jinja {

// str.isspace() of one character, which is also what \s matches in Python.
bool is_space(char32_t c);
std::size_t count_points(std::string_view text);
// The byte where code point `index` begins, or the size of the text.
std::size_t byte_at(std::string_view text, std::size_t index);
std::vector<std::string> characters(std::string_view text);

enum class Side : std::uint8_t { left, right, both };
// Without `characters`, white space.
std::string_view strip(std::string_view text, Side side,
                       const std::optional<std::string>& characters = {});

std::string to_lower(std::string_view text);
// Fault for the few characters whose upper case is several others, apart from the German one.
std::string to_upper(std::string_view text);
std::string capitalized(std::string_view text);
// Upper case behind white space and -({[<, lower case elsewhere: jinja2's filter.
std::string title_by_space(std::string_view text);
// str.title(): upper case behind everything that is not a letter.
std::string title_by_letter(std::string_view text);
std::string swapped_case(std::string_view text);

// str.islower() and str.isupper().
bool all_lower(std::string_view text);
bool all_upper(std::string_view text);
// Whether there are characters, and all are so.
bool all_of(std::string_view text, const std::function<bool(char32_t)>& is);
bool is_letter(char32_t c);
bool is_decimal(char32_t c);
// Decimal digits, superscripts and the like: str.isdigit(). Numbers of all kinds: str.isnumeric().
bool is_digit(char32_t c);
bool is_numeric(char32_t c);

// str.split() and str.rsplit(). most < 0: without a limit.
std::vector<std::string> split_space(std::string_view text, std::int64_t most, bool from_right);
std::vector<std::string> split_at(std::string_view text, std::string_view separator,
                                  std::int64_t most, bool from_right);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
std::size_t count_of(std::string_view text, std::string_view part);
// str.replace(), also for an empty `from`. most < 0: all.
std::string replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::int64_t most);
// Markup's escapes of & < > ' and ".
std::string html_escaped(std::string_view text);

}  // namespace espalier::text::jinja
