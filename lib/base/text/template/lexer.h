// SPDX-License-Identifier: Apache-2.0
// Cuts a template into tokens, with the white-space rules that transformers sets: trim_blocks (the
// line break behind a block tag goes) and lstrip_blocks (so does the indentation before one).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::text::jinja {

struct Token {
  enum class Type : std::uint8_t {
    data,            // text between tags
    variable_begin,  // {{
    variable_end,
    block_begin,  // {%
    block_end,
    name,
    string,  // without quotes, escapes resolved
    integer,
    real,
    operation,
    end
  } type = Type::end;
  std::string text;
  int line = 0;

  bool is(Type t) const { return type == t; }
  bool is_name(std::string_view t) const { return type == Type::name && text == t; }
  bool is_op(std::string_view t) const { return type == Type::operation && text == t; }
};

// Why a template cannot be read.
struct SyntaxFault {
  int line = 0;
  std::string message;
};

// Comments are gone. The last token is of type end. Throws SyntaxFault.
std::vector<Token> tokenize(std::string_view source);

}  // namespace espalier::text::jinja
