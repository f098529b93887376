// SPDX-License-Identifier: Apache-2.0
// The parser: recursive descent over the tokens, with the precedences of jinja2.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/lexer.h"
#include "text/template/syntax.h"

namespace espalier::text::jinja {

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}
  Program run();

 private:
  using Words = std::initializer_list<std::string_view>;
  using Body = std::vector<const Statement*>;

  // ---- tokens ----
  const Token& token() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next();
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  void expect_name(std::string_view name);
  std::string expect_any_name();
  bool at_one_of(Words names) const;
  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void fail_expected(const std::string& what) const;

  // ---- expressions ----
  Expression* make(Op op, int line, std::vector<const Expression*> items = {});
  const Expression* expression(bool with_condition = true);
  const Expression* condition();
  const Expression* disjunction();
  const Expression* conjunction();
  const Expression* negation();
  const Expression* comparison();
  const Expression* sum();
  const Expression* concatenation();
  const Expression* product();
  const Expression* power();
  const Expression* unary(bool with_filter);
  const Expression* primary();
  const Expression* name_or_literal();
  const Expression* number();
  const Expression* list();
  const Expression* dict();
  const Expression* postfix(const Expression* node);
  const Expression* filters_and_tests(const Expression* node);
  const Expression* subscript(const Expression* node);
  // One part between brackets. A slice has items[0] = nullptr, which subscript() replaces.
  const Expression* subscribed();
  const Expression* call(const Expression* node);
  const Expression* filter(const Expression* node, bool first);
  const Expression* test(const Expression* node);
  void arguments(Expression& node);
  // One expression, or several with commas between them. ends: names that end it.
  const Expression* tuple(bool with_condition, Words ends, bool in_parentheses);

  // ---- statements ----
  Statement* make(Statement::Kind kind);
  Body body_until(Words ends);
  const Statement* statement();
  Statement* condition_block();
  Statement* loop_block();
  Statement* set();
  Statement* with();
  Statement* macro();
  Statement* call_block();
  Statement* filter_block();
  // A body with a scope of its own.
  Body inner_body(Words ends);
  void macro_body(Statement& node, Words ends);
  Target target(bool namespaces, Words ends);
  Target single_target(bool namespaces);
  std::vector<Parameter> parameters();
  void end_tag();

  // jinja2 accepts an unknown filter or test if it stands in an `if` of the same scope, because it
  // may never be reached. Elsewhere it refuses the template.
  struct Unknown {
    std::string message;
    int line = 0, scope = 0;
    bool may_be = false;
  };
  void note_unknown(const char* kind, const std::string& name, int line);
  void excuse_unknown(std::size_t since);
  void refuse_unknown() const;

  // Bounds the recursion.
  class Level;

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  Program program_;
  int level_ = 0, loops_ = 0, scope_ = 0;
  std::vector<Unknown> unknown_;
  std::vector<Statement*> macros_;  // around the current place
};

class Parser::Level {
 public:
  explicit Level(Parser& parser) : parser_(parser) {
    if (++parser_.level_ > 200) parser_.fail("the template nests more than 200 levels deep");
  }
  ~Level() { --parser_.level_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Parser& parser_;
};

}  // namespace espalier::text::jinja
