// SPDX-License-Identifier: Apache-2.0
// The syntax tree of a template. Nodes are owned by the program, and never changed after parsing.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/value.h"

namespace espalier::text::jinja {

enum class Op : std::uint8_t {
  constant,   // value
  name,       // name
  attribute,  // items[0].name
  item,       // items[0][items[1]]
  slice,      // items[0][items[1]:items[2]:items[3]], each bound may be nullptr
  call,       // items[0](items[1]..., keywords)
  filter,     // items[0] | name(items[1]..., keywords); items[0] is nullptr in a filter block
  test,       // items[0] is name(items[1]..., keywords)
  list,
  tuple,
  dict,  // key, value, key, value, ...
  negate,
  plus,
  logical_not,
  logical_and,
  logical_or,
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  concat,    // any number of items
  compare,   // items[0] comparisons[0] items[1] comparisons[1] items[2] ...
  condition  // items[0] if items[1] else items[2], which may be nullptr
};
enum class Comparison : std::uint8_t { eq, ne, lt, le, gt, ge, in, not_in };

struct Expression {
  Op op = Op::constant;
  int line = 0;
  int depth = 0;
  std::string name;
  Value value;
  std::vector<const Expression*> items;
  // Keyword arguments. "*" and "**" stand for a list and a dict of further arguments.
  std::vector<std::pair<std::string, const Expression*>> keywords;
  std::vector<Comparison> comparisons;
};

// Where a value goes: a name, an attribute of a namespace, or several targets.
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
  bool several = false;
};

struct Parameter {
  std::string name;
  const Expression* fallback = nullptr;
};

struct Statement {
  enum class Kind : std::uint8_t {
    data,        // text
    output,      // {{ expression }}
    condition,   // branches of expression and body, then otherwise
    loop,        // for target in expression if test: body, then otherwise
    set,         // target = expression
    set_block,   // target = body, through expression (a filter) when there is one
    with,        // targets = expressions: body
    macro,       // name(parameters): body
    call_block,  // expression (a call) with `caller` = (parameters): body
    filter_block,
    generation,
    break_loop,
    continue_loop
  } kind = Kind::data;
  int line = 0;
  std::string text;  // data; macro: its name
  const Expression* expression = nullptr;
  const Expression* test = nullptr;
  Target target;
  std::vector<std::pair<Target, const Expression*>> assignments;  // with
  std::vector<Parameter> parameters;
  // Whether the body reads the names of further arguments.
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
  struct Branch {
    const Expression* test = nullptr;
    std::vector<const Statement*> body = {};
  };
  std::vector<Branch> branches;
  std::vector<const Statement*> body, otherwise;
};

struct Program {
  std::vector<std::unique_ptr<Expression>> expressions;
  std::vector<std::unique_ptr<Statement>> statements;
  std::vector<const Statement*> body;
};

// Throws SyntaxFault.
Program parse(std::string_view source);

}  // namespace espalier::text::jinja
