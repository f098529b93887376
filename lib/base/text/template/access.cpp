// SPDX-License-Identifier: Apache-2.0
// What can be done with a value, whatever its type: attributes, items, calls, iteration.
#include <algorithm>
#include <optional>

#include "text/template/builtins.h"
#include "text/template/interpreter.h"
#include "text/template/python_text.h"

namespace espalier::text::jinja {
namespace {

Value loop_attribute(const Loop& loop, const std::string& name) {
  const auto number = [](std::size_t value) {
    return Value::integer(static_cast<std::int64_t>(value));
  };
  const std::size_t n = loop.items.size(), i = loop.index;
  if (name == "index") return number(i + 1);
  if (name == "index0") return number(i);
  if (name == "revindex") return number(n - i);
  if (name == "revindex0") return number(n - i - 1);
  if (name == "first") return Value::boolean(i == 0);
  if (name == "last") return Value::boolean(i + 1 == n);
  if (name == "length") return number(n);
  // Only recursive loops, which are not supported, go deeper.
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "nextitem")
    return i + 1 < n ? loop.items[i + 1] : Value::undefined("there is no next item");
  if (name == "previtem")
    return i > 0 ? loop.items[i - 1] : Value::undefined("there is no previous item");
  return Value::undefined("'loop' has no attribute '" + name + "'");
}

Value method_of(const Value& self, const std::string& name) {
  return Value::callable(
      {.kind = Callable::Kind::method, .name = name, .self = self, .macro = nullptr, .scope = {}});
}

// What jinja2's Macro says of itself. A call block has no name.
std::optional<Value> macro_attribute(Interpreter& run, const Statement& macro,
                                     const std::string& name) {
  if (name == "name")
    return macro.kind == Statement::Kind::call_block ? Value::none() : run.text(macro.text);
  if (name == "arguments") {
    std::vector<Value> names;
    names.reserve(macro.parameters.size());
    for (const Parameter& parameter : macro.parameters) names.push_back(run.text(parameter.name));
    return run.sequence(Shape::tuple, std::move(names));
  }
  if (name == "catch_kwargs") return Value::boolean(macro.takes_kwargs);
  if (name == "catch_varargs") return Value::boolean(macro.takes_varargs);
  if (name == "caller") return Value::boolean(macro.takes_caller);
  if (name == "explicit_caller")
    return Value::boolean(
        std::any_of(macro.parameters.begin(), macro.parameters.end(),
                    [](const Parameter& parameter) { return parameter.name == "caller"; }));
  return std::nullopt;
}

Value missing(const Value& value, const std::string& name) {
  return Value::undefined(std::string("'") + type_name(value) + "' has no attribute '" + name +
                          "'");
}

}  // namespace

Value Interpreter::text(std::string bytes, bool safe) {
  charge(bytes.size());
  Held held = hold(sizeof(Text) + bytes.size());
  return Value::text(std::move(bytes), safe, std::move(held));
}

Value Interpreter::sequence(Shape shape, std::vector<Value> items) {
  charge(items.size() * sizeof(Value));
  Held held = hold(sizeof(Sequence) + items.size() * sizeof(Value));
  return Value::sequence(shape, std::move(items), std::move(held));
}

Value Interpreter::dict(Value::Entries entries) {
  // Finding equal keys compares each with each.
  charge(entries.size() * entries.size());
  Held held = hold(sizeof(Dict) + entries.size() * 2 * sizeof(Value));
  return Value::dict(std::move(entries), std::move(held));
}

std::string Interpreter::str_of(const Value& value) {
  charge(value.weight());
  return str(value);
}

bool Interpreter::are_equal(const Value& a, const Value& b) {
  charge(std::min(a.weight(), b.weight()));
  return equal(a, b);
}

int Interpreter::compare(const Value& a, const Value& b) {
  charge(std::min(a.weight(), b.weight()));
  return order(a, b);
}

Value Interpreter::attribute(const Value& value, const std::string& name) {
  switch (value.kind()) {
    case Kind::undefined:
      throw Fault(value.why());
    case Kind::name_space:
      for (const auto& [known, held] : value.name_space()->attributes)
        if (known == name) return held;
      return missing(value, name);
    case Kind::callable:
      if (const Statement* macro = value.callable().macro)
        if (const auto found = macro_attribute(*this, *macro, name)) return *found;
      break;
    case Kind::loop:
      if (name == "cycle" || name == "changed") return method_of(value, name);
      return loop_attribute(*value.loop(), name);
    default:
      break;
  }
  switch (method_access(value, name)) {
    case Access::allowed:
      return method_of(value, name);
    case Access::forbidden:
      return Value::undefined("'" + name + "' changes a '" + type_name(value) +
                              "', which a template may not do");
    case Access::none:
      break;
  }
  if (value.is(Kind::dict)) {
    charge(value.entries().size());
    if (const Value* found = find(value.entries(), std::string_view(name))) return *found;
  }
  return missing(value, name);
}

Value Interpreter::item(const Value& value, const Value& key) {
  if (value.is(Kind::undefined)) throw Fault(value.why());
  if (value.is(Kind::dict)) {
    charge(value.entries().size() + key.weight());
    if (can_be_key(key))
      if (const Value* found = find(value.entries(), key)) return *found;
  } else if (key.is_whole()) {
    const bool row = value.is(Shape::list) || value.is(Shape::tuple) || value.is(Shape::range);
    if (!row && !value.is(Kind::text)) return missing(value, str(key));
    const std::int64_t n = row ? static_cast<std::int64_t>(value.items().size())
                               : static_cast<std::int64_t>(count_points(value.bytes()));
    charge(row ? 1 : value.bytes().size() / 16);
    const std::int64_t at = key.whole() < 0 ? key.whole() + n : key.whole();
    if (at < 0 || at >= n) return missing(value, std::to_string(key.whole()));
    if (row) return value.items()[static_cast<std::size_t>(at)];
    const std::string_view bytes = value.bytes();
    const std::size_t begin = byte_at(bytes, static_cast<std::size_t>(at));
    return text(std::string(bytes.substr(begin, byte_at(bytes.substr(begin), 1))), value.safe());
  }
  if (!key.is(Kind::text))
    return Value::undefined(std::string("'") + type_name(value) + "' has no such element");
  if (value.is(Kind::dict)) {
    if (method_access(value, key.bytes()) == Access::none) return missing(value, key.bytes());
  }
  return attribute(value, key.bytes());
}

std::vector<Value> Interpreter::iterate(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return {};
    case Kind::text: {
      const Held held =
          hold(value.bytes().size() * (sizeof(std::string) + sizeof(Value) + sizeof(Text)));
      charge(value.bytes().size() * sizeof(Value));
      std::vector<Value> out;
      for (std::string& c : characters(value.bytes())) out.push_back(text(std::move(c)));
      return out;
    }
    case Kind::sequence: {
      const Sequence& sequence = value.sequence();
      charge(sequence.items.size() * sizeof(Value));
      if (sequence.shape != Shape::generator) return sequence.items;
      std::vector<Value> rest(sequence.items.begin() + static_cast<std::ptrdiff_t>(sequence.used),
                              sequence.items.end());
      sequence.used = sequence.items.size();
      return rest;
    }
    case Kind::dict: {
      charge(value.entries().size() * sizeof(Value));
      std::vector<Value> out;
      for (const auto& [key, unused] : value.entries()) out.push_back(key);
      return out;
    }
    default:
      throw Fault(std::string("'") + type_name(value) + "' cannot be iterated over");
  }
}

std::int64_t Interpreter::length(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::text:
      charge(value.bytes().size() / 16);
      return static_cast<std::int64_t>(count_points(value.bytes()));
    case Kind::sequence:
      if (value.is(Shape::generator)) break;
      return static_cast<std::int64_t>(value.items().size());
    case Kind::dict:
      return static_cast<std::int64_t>(value.entries().size());
    case Kind::loop:
      return static_cast<std::int64_t>(value.loop()->items.size());
    default:
      break;
  }
  throw Fault(std::string("a '") + type_name(value) + "' has no length");
}

bool Interpreter::contains(const Value& container, const Value& item) {
  if (container.is(Kind::text)) {
    charge(container.bytes().size());
    if (item.is(Kind::undefined)) throw Fault(item.why());
    if (!item.is(Kind::text))
      throw Fault(std::string("'in' looks for a '") + type_name(item) + "' in a text");
    return container.bytes().find(item.bytes()) != std::string::npos;
  }
  if (container.is(Kind::dict)) {
    charge(container.entries().size() + item.weight());
    if (!can_be_key(item)) throw Fault(std::string("a '") + type_name(item) + "' cannot be a key");
    return find(container.entries(), item) != nullptr;
  }
  if (container.is(Shape::generator)) {
    const Sequence& rest = container.sequence();
    while (rest.used < rest.items.size())
      if (are_equal(rest.items[rest.used++], item)) return true;
    return false;
  }
  const std::vector<Value> items = iterate(container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& other) { return are_equal(other, item); });
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.is(Kind::undefined)) throw Fault(callee.why());
  if (callee.is(Kind::loop)) throw Fault("recursive loops are not supported");
  if (!callee.is(Kind::callable))
    throw Fault(std::string("a '") + type_name(callee) + "' cannot be called");
  const Callable& callable = callee.callable();
  switch (callable.kind) {
    case Callable::Kind::macro:
      return call_macro(callable, arguments);
    case Callable::Kind::method:
      return call_method(*this, callable.self, callable.name, arguments);
    case Callable::Kind::function:
      return call_function(*this, callable.name, arguments);
  }
  throw Fault("a value cannot be called");
}

}  // namespace espalier::text::jinja
