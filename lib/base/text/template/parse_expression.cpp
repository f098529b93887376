// SPDX-License-Identifier: Apache-2.0
// Expressions, from the loosest precedence to the tightest.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "text/template/builtins.h"
#include "text/template/parser.h"

namespace espalier::text::jinja {
namespace {

constexpr int kMaxTreeDepth = 500;

}  // namespace

const Token& Parser::next() {
  const Token& taken = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return taken;
}

bool Parser::skip_op(std::string_view op) {
  if (!token().is_op(op)) return false;
  next();
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!token().is_name(name)) return false;
  next();
  return true;
}

void Parser::expect_op(std::string_view op) {
  if (!skip_op(op)) fail_expected("'" + std::string(op) + "'");
}

void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail_expected("'" + std::string(name) + "'");
}

std::string Parser::expect_any_name() {
  if (!token().is(Token::Type::name)) fail_expected("a name");
  return next().text;
}

bool Parser::at_one_of(Words names) const {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view name) { return token().is_name(name); });
}

void Parser::fail(const std::string& message) const { throw SyntaxFault{token().line, message}; }

void Parser::fail_expected(const std::string& what) const {
  using Type = Token::Type;
  std::string found = "'" + token().text + "'";
  if (token().is(Type::end)) found = "the end of the template";
  if (token().is(Type::block_end)) found = "the end of the tag";
  if (token().is(Type::variable_end)) found = "the end of the expression";
  if (token().is(Type::string)) found = "a string";
  if (token().is(Type::data)) found = "text";
  fail("expected " + what + ", found " + found);
}

Expression* Parser::make(Op op, int line, std::vector<const Expression*> items) {
  program_.expressions.push_back(std::make_unique<Expression>());
  Expression* node = program_.expressions.back().get();
  node->op = op;
  node->line = line;
  node->items = std::move(items);
  for (const Expression* item : node->items)
    if (item != nullptr) node->depth = std::max(node->depth, item->depth + 1);
  if (node->depth > kMaxTreeDepth) fail("an expression has more than 500 operations in a row");
  return node;
}

const Expression* Parser::expression(bool with_condition) {
  const Level level(*this);
  return with_condition ? condition() : disjunction();
}

const Expression* Parser::condition() {
  const std::size_t unknown = unknown_.size();
  const Expression* node = disjunction();
  while (token().is_name("if")) {
    const int line = next().line;
    const Expression* test = disjunction();
    const Expression* otherwise = nullptr;
    if (skip_name("else")) {
      const Level level(*this);
      otherwise = condition();
    }
    node = make(Op::condition, line, {node, test, otherwise});
    excuse_unknown(unknown);
  }
  return node;
}

const Expression* Parser::disjunction() {
  const Expression* node = conjunction();
  while (token().is_name("or")) {
    const int line = next().line;
    node = make(Op::logical_or, line, {node, conjunction()});
  }
  return node;
}

const Expression* Parser::conjunction() {
  const Expression* node = negation();
  while (token().is_name("and")) {
    const int line = next().line;
    node = make(Op::logical_and, line, {node, negation()});
  }
  return node;
}

const Expression* Parser::negation() {
  if (!token().is_name("not")) return comparison();
  const Level level(*this);
  const int line = next().line;
  return make(Op::logical_not, line, {negation()});
}

const Expression* Parser::comparison() {
  static constexpr std::pair<std::string_view, Comparison> kComparisons[] = {
      {"==", Comparison::eq}, {"!=", Comparison::ne}, {"<", Comparison::lt},
      {"<=", Comparison::le}, {">", Comparison::gt},  {">=", Comparison::ge}};
  const int line = token().line;
  std::vector<const Expression*> items = {sum()};
  std::vector<Comparison> comparisons;
  while (true) {
    const auto found = std::find_if(std::begin(kComparisons), std::end(kComparisons),
                                    [&](const auto& known) { return token().is_op(known.first); });
    if (found != std::end(kComparisons)) {
      next();
      comparisons.push_back(found->second);
    } else if (skip_name("in")) {
      comparisons.push_back(Comparison::in);
    } else if (token().is_name("not") && ahead().is_name("in")) {
      next();
      next();
      comparisons.push_back(Comparison::not_in);
    } else {
      break;
    }
    items.push_back(sum());
  }
  if (comparisons.empty()) return items.front();
  Expression* node = make(Op::compare, line, std::move(items));
  node->comparisons = std::move(comparisons);
  return node;
}

const Expression* Parser::sum() {
  const Expression* node = concatenation();
  while (token().is_op("+") || token().is_op("-")) {
    const Op op = token().is_op("+") ? Op::add : Op::subtract;
    const int line = next().line;
    node = make(op, line, {node, concatenation()});
  }
  return node;
}

const Expression* Parser::concatenation() {
  const int line = token().line;
  std::vector<const Expression*> items = {product()};
  while (skip_op("~")) items.push_back(product());
  return items.size() == 1 ? items.front() : make(Op::concat, line, std::move(items));
}

const Expression* Parser::product() {
  static constexpr std::pair<std::string_view, Op> kProducts[] = {
      {"*", Op::multiply}, {"/", Op::divide}, {"//", Op::floor_divide}, {"%", Op::modulo}};
  const Expression* node = power();
  while (true) {
    const auto found = std::find_if(std::begin(kProducts), std::end(kProducts),
                                    [&](const auto& known) { return token().is_op(known.first); });
    if (found == std::end(kProducts)) return node;
    const int line = next().line;
    node = make(found->second, line, {node, power()});
  }
}

const Expression* Parser::power() {
  const Expression* node = unary(true);
  while (token().is_op("**")) {
    const int line = next().line;
    node = make(Op::power, line, {node, unary(true)});
  }
  return node;
}

const Expression* Parser::unary(bool with_filter) {
  const Level level(*this);
  const Expression* node = nullptr;
  if (token().is_op("-") || token().is_op("+")) {
    const Op op = token().is_op("-") ? Op::negate : Op::plus;
    const int line = next().line;
    node = make(op, line, {unary(false)});
  } else {
    node = primary();
  }
  node = postfix(node);
  return with_filter ? filters_and_tests(node) : node;
}

const Expression* Parser::primary() {
  const Token& t = token();
  switch (t.type) {
    case Token::Type::name:
      return name_or_literal();
    case Token::Type::string: {
      const int line = t.line;
      std::string text;
      while (token().is(Token::Type::string)) text += next().text;
      Expression* node = make(Op::constant, line);
      node->value = Value::text(std::move(text));
      return node;
    }
    case Token::Type::integer:
    case Token::Type::real:
      return number();
    default:
      break;
  }
  if (skip_op("(")) {
    const Expression* node = tuple(true, {}, true);
    expect_op(")");
    return node;
  }
  if (t.is_op("[")) return list();
  if (t.is_op("{")) return dict();
  fail_expected("an expression");
}

const Expression* Parser::name_or_literal() {
  const Token& t = next();
  const auto constant = [&](Value value) {
    Expression* node = make(Op::constant, t.line);
    node->value = std::move(value);
    return node;
  };
  if (t.text == "true" || t.text == "True") return constant(Value::boolean(true));
  if (t.text == "false" || t.text == "False") return constant(Value::boolean(false));
  if (t.text == "none" || t.text == "None") return constant(Value::none());
  Expression* node = make(Op::name, t.line);
  node->name = t.text;
  if (!macros_.empty()) {
    Statement& macro = *macros_.back();
    macro.takes_varargs = macro.takes_varargs || t.text == "varargs";
    macro.takes_kwargs = macro.takes_kwargs || t.text == "kwargs";
    macro.takes_caller = macro.takes_caller || t.text == "caller";
  }
  return node;
}

const Expression* Parser::number() {
  const Token& t = next();
  Expression* node = make(Op::constant, t.line);
  if (t.is(Token::Type::real)) {
    node->value = Value::real(std::strtod(t.text.c_str(), nullptr));
    return node;
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
  if (error != std::errc() || end != t.text.data() + t.text.size())
    throw SyntaxFault{t.line, "the number " + t.text + " does not fit into 64 bits"};
  node->value = Value::integer(value);
  return node;
}

const Expression* Parser::list() {
  const int line = next().line;
  std::vector<const Expression*> items;
  while (!token().is_op("]")) {
    if (!items.empty()) expect_op(",");
    if (token().is_op("]")) break;
    items.push_back(expression());
  }
  expect_op("]");
  return make(Op::list, line, std::move(items));
}

const Expression* Parser::dict() {
  const int line = next().line;
  std::vector<const Expression*> items;
  while (!token().is_op("}")) {
    if (!items.empty()) expect_op(",");
    if (token().is_op("}")) break;
    items.push_back(expression());
    expect_op(":");
    items.push_back(expression());
  }
  expect_op("}");
  return make(Op::dict, line, std::move(items));
}

const Expression* Parser::postfix(const Expression* node) {
  while (true) {
    if (token().is_op(".") || token().is_op("["))
      node = subscript(node);
    else if (token().is_op("("))
      node = call(node);
    else
      return node;
  }
}

const Expression* Parser::filters_and_tests(const Expression* node) {
  while (true) {
    if (token().is_op("|"))
      node = filter(node, false);
    else if (token().is_name("is"))
      node = test(node);
    else if (token().is_op("("))
      node = call(node);
    else
      return node;
  }
}

const Expression* Parser::subscript(const Expression* node) {
  const int line = token().line;
  if (skip_op(".")) {
    if (token().is(Token::Type::integer)) return make(Op::item, line, {node, number()});
    const std::string name = expect_any_name();
    Expression* out = make(Op::attribute, line, {node});
    out->name = name;
    return out;
  }
  next();
  std::vector<const Expression*> parts;
  while (!token().is_op("]")) {
    if (!parts.empty()) expect_op(",");
    parts.push_back(subscribed());
  }
  expect_op("]");
  if (parts.size() != 1) {
    for (const Expression* part : parts)
      if (part->op == Op::slice) fail("slices of several dimensions are not supported");
    return make(Op::item, line, {node, make(Op::tuple, line, std::move(parts))});
  }
  const Expression* part = parts.front();
  if (part->op != Op::slice || part->items[0] != nullptr) return make(Op::item, line, {node, part});
  return make(Op::slice, line, {node, part->items[1], part->items[2], part->items[3]});
}

const Expression* Parser::subscribed() {
  const int line = token().line;
  const auto bound = [&]() -> const Expression* {
    const bool none = token().is_op(":") || token().is_op("]") || token().is_op(",");
    return none ? nullptr : expression();
  };
  const Expression* begin = token().is_op(":") ? nullptr : expression();
  if (!skip_op(":")) return begin;
  const Expression* end = bound();
  const Expression* step = skip_op(":") ? bound() : nullptr;
  return make(Op::slice, line, {nullptr, begin, end, step});
}

const Expression* Parser::call(const Expression* node) {
  Expression* out = make(Op::call, token().line, {node});
  arguments(*out);
  return out;
}

void Parser::arguments(Expression& node) {
  expect_op("(");
  bool first = true;
  while (!token().is_op(")")) {
    if (!first) expect_op(",");
    if (token().is_op(")")) break;
    first = false;
    if (skip_op("*")) {
      node.keywords.emplace_back("*", expression());
    } else if (skip_op("**")) {
      node.keywords.emplace_back("**", expression());
    } else if (token().is(Token::Type::name) && ahead().is_op("=")) {
      const std::string name = next().text;
      next();
      for (const auto& [other, value] : node.keywords)
        if (other == name) fail("the argument '" + name + "' is given twice");
      node.keywords.emplace_back(name, expression());
    } else {
      if (!node.keywords.empty()) fail("an argument without a name stands behind one with a name");
      node.items.push_back(expression());
    }
  }
  expect_op(")");
}

const Expression* Parser::filter(const Expression* node, bool first) {
  while (first || token().is_op("|")) {
    if (!first) next();
    first = false;
    Expression* out = make(Op::filter, token().line, {node});
    out->name = expect_any_name();
    while (skip_op(".")) out->name.append(1, '.').append(expect_any_name());
    if (!is_filter(out->name)) note_unknown("filter", out->name, out->line);
    if (token().is_op("(")) arguments(*out);
    node = out;
  }
  return node;
}

const Expression* Parser::test(const Expression* node) {
  const int line = next().line;
  const bool negated = skip_name("not");
  Expression* out = make(Op::test, line, {node});
  out->name = expect_any_name();
  while (skip_op(".")) out->name.append(1, '.').append(expect_any_name());
  if (!is_test(out->name)) note_unknown("test", out->name, line);
  using Type = Token::Type;
  const Token& t = token();
  const bool operand = t.is(Type::name) || t.is(Type::string) || t.is(Type::integer) ||
                       t.is(Type::real) || t.is_op("[") || t.is_op("{");
  if (t.is_op("(")) {
    arguments(*out);
  } else if (operand && !at_one_of({"else", "or", "and"})) {
    if (t.is_name("is")) fail("tests cannot follow one another with 'is'");
    const Level level(*this);
    out->items.push_back(postfix(primary()));
  }
  return negated ? make(Op::logical_not, line, {out}) : out;
}

const Expression* Parser::tuple(bool with_condition, Words ends, bool in_parentheses) {
  const int line = token().line;
  std::vector<const Expression*> items;
  bool several = false;
  const auto at_end = [&] {
    return token().is(Token::Type::variable_end) || token().is(Token::Type::block_end) ||
           token().is_op(")") || at_one_of(ends);
  };
  while (true) {
    if (!items.empty()) expect_op(",");
    if (at_end()) break;
    items.push_back(expression(with_condition));
    if (!token().is_op(",")) break;
    several = true;
  }
  if (several) return make(Op::tuple, line, std::move(items));
  if (!items.empty()) return items.front();
  if (!in_parentheses) fail_expected("an expression");
  return make(Op::tuple, line);
}

}  // namespace espalier::text::jinja
