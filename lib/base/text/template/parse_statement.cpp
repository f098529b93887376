// SPDX-License-Identifier: Apache-2.0
// Tags and the text between them.
#include <algorithm>

#include "text/template/builtins.h"
#include "text/template/parser.h"

namespace espalier::text::jinja {

Program parse(std::string_view source) { return Parser(source).run(); }

Program Parser::run() {
  program_.body = body_until({});
  refuse_unknown();
  return std::move(program_);
}

Statement* Parser::make(Statement::Kind kind) {
  program_.statements.push_back(std::make_unique<Statement>());
  Statement* node = program_.statements.back().get();
  node->kind = kind;
  node->line = token().line;
  return node;
}

void Parser::note_unknown(const char* kind, const std::string& name, int line) {
  unknown_.push_back({"there is no " + std::string(kind) + " named '" + name + "'", line, scope_});
}

void Parser::excuse_unknown(std::size_t since) {
  for (std::size_t i = since; i < unknown_.size(); ++i)
    if (unknown_[i].scope == scope_) unknown_[i].may_be = true;
}

void Parser::refuse_unknown() const {
  for (const Unknown& unknown : unknown_)
    if (!unknown.may_be) throw SyntaxFault{unknown.line, unknown.message};
}

// Up to a tag that one of `ends` names. Its name is the current token then. Without ends, the whole
// template.
Parser::Body Parser::body_until(Words ends) {
  const Level level(*this);
  Body out;
  while (true) {
    switch (token().type) {
      case Token::Type::data: {
        Statement* node = make(Statement::Kind::data);
        node->text = next().text;
        out.push_back(node);
        break;
      }
      case Token::Type::variable_begin: {
        next();
        Statement* node = make(Statement::Kind::output);
        node->expression = tuple(true, {}, false);
        if (!token().is(Token::Type::variable_end)) fail_expected("'}}'");
        next();
        out.push_back(node);
        break;
      }
      case Token::Type::block_begin:
        next();
        if (at_one_of(ends)) return out;
        out.push_back(statement());
        break;
      default:
        if (ends.size() == 0) return out;
        fail_expected("{% " + std::string(*std::prev(ends.end())) + " %}");
    }
  }
}

void Parser::end_tag() {
  if (!token().is(Token::Type::block_end)) fail_expected("'%}'");
  next();
}

const Statement* Parser::statement() {
  if (!token().is(Token::Type::name)) fail_expected("the name of a tag");
  const std::string name = token().text;
  if (name == "if") return condition_block();
  if (name == "for") return loop_block();
  if (name == "set") return set();
  if (name == "with") return with();
  if (name == "macro") return macro();
  if (name == "call") return call_block();
  if (name == "filter") return filter_block();
  if (name == "break" || name == "continue") {
    if (loops_ == 0) fail("{% " + name + " %} outside of a loop");
    Statement* node =
        make(name == "break" ? Statement::Kind::break_loop : Statement::Kind::continue_loop);
    next();
    end_tag();
    return node;
  }
  if (name == "generation") {
    Statement* node = make(Statement::Kind::generation);
    next();
    const int loops = std::exchange(loops_, 0);
    node->body = inner_body({"endgeneration"});
    loops_ = loops;
    return node;
  }
  if (name == "print") {
    Statement* node = make(Statement::Kind::output);
    next();
    node->expression = tuple(true, {}, false);
    end_tag();
    return node;
  }
  for (const char* known : {"block", "extends", "include", "import", "from", "autoescape"})
    if (name == known) fail("{% " + name + " %} is not supported");
  fail("{% " + name + " %} is not a tag of this language, or does not belong here");
}

// Behind the opening tag's expression, up to and with the closing tag.
Parser::Body Parser::inner_body(Words ends) {
  skip_op(":");
  end_tag();
  ++scope_;
  Body out = body_until(ends);
  --scope_;
  if (ends.size() == 1) {
    next();
    end_tag();
  }
  return out;
}

Statement* Parser::condition_block() {
  Statement* node = make(Statement::Kind::condition);
  const std::size_t unknown = unknown_.size();
  while (true) {
    next();  // if, elif
    Statement::Branch branch{.test = tuple(false, {}, false)};
    skip_op(":");
    end_tag();
    branch.body = body_until({"elif", "else", "endif"});
    node->branches.push_back(std::move(branch));
    if (token().is_name("elif")) continue;
    if (skip_name("else")) {
      skip_op(":");
      end_tag();
      node->otherwise = body_until({"endif"});
    }
    break;
  }
  next();
  end_tag();
  excuse_unknown(unknown);
  return node;
}

Statement* Parser::loop_block() {
  Statement* node = make(Statement::Kind::loop);
  next();
  node->target = target(false, {"in"});
  expect_name("in");
  node->expression = tuple(false, {"recursive"}, false);
  if (skip_name("if")) node->test = expression();
  if (token().is_name("recursive")) fail("recursive loops are not supported");
  ++loops_;
  node->body = inner_body({"endfor", "else"});
  --loops_;
  if (skip_name("else")) {
    node->otherwise = inner_body({"endfor"});
    return node;
  }
  next();
  end_tag();
  return node;
}

Target Parser::single_target(bool namespaces) {
  if (skip_op("(")) {
    const Level level(*this);
    Target out = target(namespaces, {});
    expect_op(")");
    return out;
  }
  Target out;
  out.name = expect_any_name();
  for (const char* word : {"true", "false", "none", "True", "False", "None"})
    if (out.name == word) fail("'" + out.name + "' cannot be set");
  if (namespaces && skip_op(".")) out.attribute = expect_any_name();
  return out;
}

Target Parser::target(bool namespaces, Words ends) {
  Target first = single_target(namespaces);
  if (!token().is_op(",")) return first;
  Target out;
  out.several = true;
  out.parts.push_back(std::move(first));
  while (skip_op(",")) {
    if (token().is_op("=") || token().is_op(")") || token().is(Token::Type::block_end) ||
        at_one_of(ends))
      break;
    out.parts.push_back(single_target(namespaces));
  }
  return out;
}

Statement* Parser::set() {
  Statement* node = make(Statement::Kind::set);
  next();
  node->target = target(true, {});
  if (skip_op("=")) {
    node->expression = tuple(true, {}, false);
    end_tag();
    return node;
  }
  node->kind = Statement::Kind::set_block;
  if (token().is_op("|")) node->expression = filter(nullptr, false);
  node->body = inner_body({"endset"});
  return node;
}

Statement* Parser::with() {
  Statement* node = make(Statement::Kind::with);
  next();
  while (!token().is(Token::Type::block_end)) {
    if (!node->assignments.empty()) expect_op(",");
    Target name = single_target(false);
    expect_op("=");
    node->assignments.emplace_back(std::move(name), expression());
  }
  node->body = inner_body({"endwith"});
  return node;
}

std::vector<Parameter> Parser::parameters() {
  std::vector<Parameter> out;
  expect_op("(");
  while (!token().is_op(")")) {
    if (!out.empty()) expect_op(",");
    Parameter parameter{.name = expect_any_name()};
    for (const Parameter& other : out)
      if (other.name == parameter.name)
        fail("the parameter '" + other.name + "' stands there twice");
    if (skip_op("="))
      parameter.fallback = expression();
    else if (!out.empty() && out.back().fallback != nullptr)
      fail("a parameter without a default stands behind one with a default");
    out.push_back(std::move(parameter));
  }
  expect_op(")");
  return out;
}

void Parser::macro_body(Statement& node, Words ends) {
  macros_.push_back(&node);
  const int loops = std::exchange(loops_, 0);
  node.body = inner_body(ends);
  loops_ = loops;
  macros_.pop_back();
  for (const Parameter& parameter : node.parameters) {  // these names are taken then
    if (parameter.name == "kwargs") node.takes_kwargs = false;
    if (parameter.name == "varargs") node.takes_varargs = false;
  }
}

Statement* Parser::macro() {
  Statement* node = make(Statement::Kind::macro);
  next();
  node->text = expect_any_name();
  node->parameters = parameters();
  macro_body(*node, {"endmacro"});
  return node;
}

Statement* Parser::call_block() {
  Statement* node = make(Statement::Kind::call_block);
  next();
  node->text = "caller";
  if (token().is_op("(")) node->parameters = parameters();
  node->expression = expression();
  if (node->expression->op != Op::call) fail("{% call %} needs a call");
  macro_body(*node, {"endcall"});
  return node;
}

Statement* Parser::filter_block() {
  Statement* node = make(Statement::Kind::filter_block);
  next();
  node->expression = filter(nullptr, true);
  node->body = inner_body({"endfilter"});
  return node;
}

}  // namespace espalier::text::jinja
