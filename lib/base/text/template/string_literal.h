// SPDX-License-Identifier: Apache-2.0
// The escapes of Python in a string literal.
#pragma once
#include <string>
#include <string_view>

namespace espalier::text::jinja {

// The text between the quotes. An unknown escape stays as it is. Throws SyntaxFault with `line` for
// a code that is none, and for a character by name.
std::string unescaped(std::string_view literal, int line);

}  // namespace espalier::text::jinja
