// SPDX-License-Identifier: Apache-2.0
// Statements, scopes and macros.
#include "text/template/interpreter.h"

#include <algorithm>

#include "text/template/builtins.h"
#include "text/template/interpreter_scopes.h"

namespace espalier::text::jinja {
namespace {

// The work of an operation on no bytes at all.
constexpr std::uint64_t kCallWork = 8;

}  // namespace

std::string Interpreter::run() {
  std::string out;
  out_ = &out;
  scope_ = std::make_shared<Scope>();
  run(program_.body);
  scope_.reset();
  return out;
}

void Interpreter::step() {
  if (++steps_ > options_.steps)
    throw Fault("it takes more than " + std::to_string(options_.steps) + " steps");
}

void Interpreter::charge(std::uint64_t bytes) {
  if (bytes > options_.memory)
    throw Fault("one operation takes more than " + std::to_string(options_.memory) + " bytes");
  work_ += bytes + kCallWork;
  if (work_ > options_.work)
    throw Fault("it writes or compares more than " + std::to_string(options_.work) + " bytes");
}

Held Interpreter::hold(std::uint64_t bytes) {
  if (bytes > options_.memory || *memory_ + bytes > options_.memory)
    throw Fault("it holds more than " + std::to_string(options_.memory) + " bytes");
  return {memory_, bytes};
}

void Interpreter::write(std::string_view text) {
  charge(text.size());
  hold(out_->size() + text.size());
  *out_ += text;
}

Interpreter::Flow Interpreter::run(const Body& body) {
  for (const Statement* node : body)
    if (const Flow flow = run(*node); flow != Flow::normal) return flow;
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const Statement& node) {
  const Deeper deeper(*this);
  step();
  line_ = node.line;
  switch (node.kind) {
    case Statement::Kind::data:
      write(node.text);
      return Flow::normal;
    case Statement::Kind::output:
      write(str_of(evaluate(*node.expression)));
      return Flow::normal;
    case Statement::Kind::condition:
      return run_condition(node);
    case Statement::Kind::loop:
      return run_loop(node);
    case Statement::Kind::set:
      assign(node.target, evaluate(*node.expression));
      return Flow::normal;
    case Statement::Kind::set_block:
      return run_set_block(node);
    case Statement::Kind::filter_block:
      return run_filter_block(node);
    case Statement::Kind::macro:
      set(node.text, Value::callable({.kind = Callable::Kind::macro,
                                      .name = node.text,
                                      .self = {},
                                      .macro = &node,
                                      .scope = scope_}));
      return Flow::normal;
    case Statement::Kind::call_block:
      run_call_block(node);
      return Flow::normal;
    case Statement::Kind::with: {
      std::vector<Value> values;
      values.reserve(node.assignments.size());
      for (const auto& [target, expression] : node.assignments)
        values.push_back(evaluate(*expression));
      const Inner inner(*this);
      for (std::size_t i = 0; i < values.size(); ++i) assign(node.assignments[i].first, values[i]);
      return run(node.body);
    }
    case Statement::Kind::generation: {
      const Inner inner(*this);
      return run(node.body);
    }
    case Statement::Kind::break_loop:
      return Flow::broken;
    case Statement::Kind::continue_loop:
      return Flow::continued;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_condition(const Statement& node) {
  for (const Statement::Branch& branch : node.branches)
    if (truth(evaluate(*branch.test))) return run(branch.body);
  return run(node.otherwise);
}

// The items of a loop that pass its test.
std::vector<Value> Interpreter::loop_items(const Statement& node) {
  std::vector<Value> items = iterate(evaluate(*node.expression));
  if (node.test == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const Inner inner(*this);
    assign(node.target, item);
    if (truth(evaluate(*node.test))) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::Flow Interpreter::run_loop(const Statement& node) {
  const auto loop = std::make_shared<Loop>();
  loop->items = loop_items(node);
  loop->held = hold(loop->items.size() * sizeof(Value));
  const Value as_value = Value::loop(loop);
  Flow flow = Flow::normal;
  for (; loop->index < loop->items.size(); ++loop->index) {
    const Inner inner(*this);
    line_ = node.line;
    step();
    set("loop", as_value);
    assign(node.target, loop->items[loop->index]);
    flow = run(node.body);
    if (flow == Flow::broken) break;
  }
  if (!loop->items.empty()) return Flow::normal;
  const Inner inner(*this);
  return run(node.otherwise);
}

Interpreter::Flow Interpreter::capture(const Body& body, std::string& written) {
  const Held before = hold(out_->size());
  std::string* const outside = std::exchange(out_, &written);
  const Inner inner(*this);
  try {
    const Flow flow = run(body);
    out_ = outside;
    return flow;
  } catch (...) {
    out_ = outside;
    throw;
  }
}

Interpreter::Flow Interpreter::run_set_block(const Statement& node) {
  std::string written;
  if (const Flow flow = capture(node.body, written); flow != Flow::normal) return flow;
  Value value = text(std::move(written));
  if (node.expression != nullptr) {
    const Inner inner(*this);
    set(kFiltered, value);
    value = evaluate(*node.expression);
  }
  assign(node.target, value);
  return Flow::normal;
}

Interpreter::Flow Interpreter::run_filter_block(const Statement& node) {
  std::string written;
  if (const Flow flow = capture(node.body, written); flow != Flow::normal) return flow;
  const Inner inner(*this);
  set(kFiltered, text(std::move(written)));
  write(str_of(evaluate(*node.expression)));
  return Flow::normal;
}

void Interpreter::run_call_block(const Statement& node) {
  const Value callee = evaluate(*node.expression->items[0]);
  Arguments given = arguments(*node.expression);
  add_keyword(given, "caller",
              Value::callable({.kind = Callable::Kind::macro,
                               .name = "caller",
                               .self = {},
                               .macro = &node,
                               .scope = scope_}));
  line_ = node.line;
  write(str_of(call(callee, given)));
}

void Interpreter::set(const std::string& name, Value value) {
  for (auto& [known, held] : scope_->values) {
    if (known != name) continue;
    held = std::move(value);
    return;
  }
  scope_->values.emplace_back(name, std::move(value));
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.several) {
    const std::vector<Value> items = iterate(value);
    if (items.size() != target.parts.size())
      throw Fault("there are " + std::to_string(items.size()) + " values for " +
                  std::to_string(target.parts.size()) + " names");
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
    return;
  }
  if (target.attribute.empty()) return set(target.name, value);
  const Value* owner = find_variable(target.name);
  if (owner == nullptr || !owner->is(Kind::name_space))
    throw Fault("'" + target.name + "' is no namespace, so its attribute cannot be set");
  if (target.attribute.starts_with("_"))
    throw Fault("the attribute '" + target.attribute + "' of a namespace begins with _");
  auto& attributes = owner->name_space()->attributes;
  for (auto& [name, held] : attributes) {
    if (name != target.attribute) continue;
    held = value;
    return;
  }
  attributes.emplace_back(target.attribute, value);
}

const Value* Interpreter::find_variable(const std::string& name) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get())
    for (const auto& [known, value] : scope->values)
      if (known == name) return &value;
  for (const auto& [known, value] : variables_)
    if (known == name) return &value;
  return nullptr;
}

Value Interpreter::get(const std::string& name) const {
  if (const Value* found = find_variable(name)) return *found;
  if (is_function(name)) {
    return Value::callable({.kind = Callable::Kind::function,
                            .name = name,
                            .self = {},
                            .macro = nullptr,
                            .scope = {}});
  }
  return Value::undefined("'" + name + "' is undefined");
}

Value Interpreter::name(const Expression& node) { return get(node.name); }

Namespace* Interpreter::new_namespace() {
  charge(sizeof(Namespace));
  namespaces_.push_back(std::make_unique<Namespace>());
  return namespaces_.back().get();
}

// Assigns arguments to the parameters of a macro in the current scope, as jinja2 does.
void Interpreter::bind_parameters(const Statement& macro, Arguments arguments) {
  auto& named = arguments.named;
  const auto take = [&](const std::string& name) -> std::optional<Value> {
    for (std::size_t i = 0; i < named.size(); ++i) {
      if (named[i].first != name) continue;
      Value value = std::move(named[i].second);
      named.erase(named.begin() + static_cast<std::ptrdiff_t>(i));
      return value;
    }
    return std::nullopt;
  };
  const auto& positional = arguments.positional;
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    std::optional<Value> value =
        i < positional.size() ? std::optional(positional[i]) : take(parameter.name);
    if (!value && parameter.fallback != nullptr) value = evaluate(*parameter.fallback);
    if (!value) value = Value::undefined("parameter '" + parameter.name + "' was not provided");
    set(parameter.name, *std::move(value));
  }
  const bool own_caller =
      std::any_of(macro.parameters.begin(), macro.parameters.end(),
                  [](const Parameter& parameter) { return parameter.name == "caller"; });
  if (macro.takes_caller && !own_caller)
    set("caller", take("caller").value_or(Value::undefined("no caller is defined")));
  if (macro.takes_kwargs) {
    Value::Entries rest;
    for (const auto& [name, value] : named) rest.emplace_back(text(name), value);
    set("kwargs", dict(std::move(rest)));
  } else if (!named.empty()) {
    throw Fault("the macro '" + macro.text + "' has no parameter '" + named.front().first + "'");
  }
  const std::size_t taken = std::min(positional.size(), macro.parameters.size());
  if (macro.takes_varargs)
    set("varargs", sequence(Shape::tuple, {positional.begin() + static_cast<std::ptrdiff_t>(taken),
                                           positional.end()}));
  else if (taken < positional.size())
    throw Fault("the macro '" + macro.text + "' takes at most " +
                std::to_string(macro.parameters.size()) + " arguments");
}

Value Interpreter::call_macro(const Callable& callable, const Arguments& arguments) {
  const std::shared_ptr<Scope> home = callable.scope.lock();
  if (home == nullptr)
    throw Fault("the macro '" + callable.name + "' is called outside of where it was defined");
  const Deeper deeper(*this);
  std::string written;
  {
    const Held before = hold(out_->size());
    const Inner inner(*this, home);
    bind_parameters(*callable.macro, arguments);
    std::string* const outside = std::exchange(out_, &written);
    try {
      run(callable.macro->body);
    } catch (...) {
      out_ = outside;
      throw;
    }
    out_ = outside;
  }
  return text(std::move(written));
}

}  // namespace espalier::text::jinja
