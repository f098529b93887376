// SPDX-License-Identifier: Apache-2.0
// Expressions: each kind of node, and arithmetic with the types of Python.
#include <algorithm>
#include <cmath>

#include "text/template/builtins.h"
#include "text/template/interpreter.h"
#include "text/template/interpreter_scopes.h"
#include "text/template/python_text.h"

namespace espalier::text::jinja {
namespace {

[[noreturn]] void no_operation(const char* sign, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (value->is(Kind::undefined)) throw Fault(value->why());
  throw Fault(std::string("'") + sign + "' does not work on '" + type_name(a) + "' and '" +
              type_name(b) + "'");
}

std::int64_t in_range(bool overflow, std::int64_t value) {
  if (overflow) throw Fault("a number does not fit into 64 bits");
  return value;
}

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  if (b == 0) throw Fault("division by zero");
  if (b == -1) {
    std::int64_t out = 0;
    const bool overflow = __builtin_sub_overflow(std::int64_t{0}, a, &out);
    return in_range(overflow, out);
  }
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t floor_rest(std::int64_t a, std::int64_t b) {
  if (b == 0) throw Fault("division by zero");
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

std::int64_t whole_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t out = 1;
  bool overflow = false;
  // Beyond 64 steps only -1, 0 and 1 stay small.
  if (exponent > 64 && base >= -1 && base <= 1) exponent = 2 + exponent % 2;
  for (std::int64_t i = 0; i < exponent && !overflow; ++i)
    overflow = __builtin_mul_overflow(out, base, &out);
  return in_range(overflow, out);
}

Value whole_arithmetic(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  switch (op) {
    case Op::add: {
      const bool overflow = __builtin_add_overflow(a, b, &out);
      return Value::integer(in_range(overflow, out));
    }
    case Op::subtract: {
      const bool overflow = __builtin_sub_overflow(a, b, &out);
      return Value::integer(in_range(overflow, out));
    }
    case Op::multiply: {
      const bool overflow = __builtin_mul_overflow(a, b, &out);
      return Value::integer(in_range(overflow, out));
    }
    case Op::divide:
      if (b == 0) throw Fault("division by zero");
      return Value::real(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Op::floor_divide:
      return Value::integer(floor_quotient(a, b));
    case Op::modulo:
      return Value::integer(floor_rest(a, b));
    default:
      if (b >= 0) return Value::integer(whole_power(a, b));
      if (a == 0) throw Fault("division by zero");
      return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
}

Value real_arithmetic(Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return Value::real(a + b);
    case Op::subtract:
      return Value::real(a - b);
    case Op::multiply:
      return Value::real(a * b);
    case Op::power: {
      const double out = std::pow(a, b);
      if ((std::isnan(out) && !std::isnan(a) && !std::isnan(b)) ||
          (std::isinf(out) && std::isfinite(a) && std::isfinite(b)))
        throw Fault("a power has no value that a number can hold");
      return Value::real(out);
    }
    default:
      break;
  }
  if (b == 0) throw Fault("division by zero");
  if (op == Op::divide) return Value::real(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (rest == 0) rest = std::copysign(0.0, b);
  if (op == Op::modulo) return Value::real(rest);
  double quotient = (a - rest) / b;
  const double below = std::floor(quotient);
  quotient = quotient - below > 0.5 ? below + 1 : below;
  return Value::real(quotient == 0 ? std::copysign(0.0, a / b) : quotient);
}

const char* sign_of(Op op) {
  switch (op) {
    case Op::add:
      return "+";
    case Op::subtract:
      return "-";
    case Op::multiply:
      return "*";
    case Op::divide:
      return "/";
    case Op::floor_divide:
      return "//";
    case Op::modulo:
      return "%";
    default:
      return "**";
  }
}

}  // namespace

Value Interpreter::evaluate(const Expression& node) {
  const Deeper deeper(*this);
  step();
  line_ = node.line;
  switch (node.op) {
    case Op::constant:
      return node.value;
    case Op::name:
      return name(node);
    case Op::logical_not:
      return Value::boolean(!truth(evaluate(*node.items[0])));
    case Op::logical_and: {
      Value left = evaluate(*node.items[0]);
      return truth(left) ? evaluate(*node.items[1]) : left;
    }
    case Op::logical_or: {
      Value left = evaluate(*node.items[0]);
      return truth(left) ? left : evaluate(*node.items[1]);
    }
    case Op::condition:
      if (truth(evaluate(*node.items[1]))) return evaluate(*node.items[0]);
      if (node.items[2] != nullptr) return evaluate(*node.items[2]);
      return Value::undefined("an 'if' without 'else' is false");
    default:
      return evaluate_operation(node);
  }
}

Value Interpreter::evaluate_operation(const Expression& node) {
  const auto first = [&] { return evaluate(*node.items[0]); };
  switch (node.op) {
    case Op::attribute: {
      const Value object = first();
      line_ = node.line;
      return attribute(object, node.name);
    }
    case Op::item: {
      const Value object = first(), key = evaluate(*node.items[1]);
      line_ = node.line;
      return item(object, key);
    }
    case Op::slice:
      return slice(node);
    case Op::call: {
      const Value callee = first();
      const Arguments given = arguments(node);
      line_ = node.line;
      return call(callee, given);
    }
    case Op::filter: {
      const Value value = node.items[0] == nullptr ? get(kFiltered) : first();
      const Arguments given = arguments(node);
      line_ = node.line;
      return apply_filter(*this, node.name, value, given);
    }
    case Op::test: {
      const Value value = first();
      const Arguments given = arguments(node);
      line_ = node.line;
      return Value::boolean(apply_test(*this, node.name, value, given));
    }
    case Op::list:
    case Op::tuple:
    case Op::dict:
      return literal(node);
    case Op::concat:
      return concatenate(node);
    case Op::compare:
      return compare_chain(node);
    case Op::negate:
      return negate(first());
    case Op::plus: {
      const Value value = first();
      if (!value.is_number()) no_operation("+", value, value);
      return value.is(Kind::boolean) ? Value::integer(value.whole()) : value;
    }
    default: {
      const Value a = first(), b = evaluate(*node.items[1]);
      line_ = node.line;
      return arithmetic(node.op, a, b);
    }
  }
}

Value Interpreter::negate(const Value& value) {
  if (value.is(Kind::real)) return Value::real(-value.number());
  if (!value.is_whole()) no_operation("-", value, value);
  return whole_arithmetic(Op::subtract, 0, value.whole());
}

Value Interpreter::arithmetic(Op op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number())
    return a.is_whole() && b.is_whole() ? whole_arithmetic(op, a.whole(), b.whole())
                                        : real_arithmetic(op, a.number(), b.number());
  if (op == Op::add) return add(a, b);
  if (op == Op::multiply) return multiply(a, b);
  if (op == Op::modulo && a.is(Kind::text)) {
    if (b.is(Kind::undefined)) throw Fault(b.why());
    if (a.safe()) throw Fault("'%' on a text that is marked safe is not supported");
    return text(format_percent(*this, a.bytes(), b));
  }
  no_operation(sign_of(op), a, b);
}

Value Interpreter::add(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return arithmetic(Op::add, a, b);
  if (a.is(Kind::text) && b.is(Kind::text)) {
    charge(a.bytes().size() + b.bytes().size());
    if (!a.safe() && !b.safe()) return text(a.bytes() + b.bytes());
    const auto escaped = [](const Value& part) {
      return part.safe() ? part.bytes() : html_escaped(part.bytes());
    };
    return text(escaped(a) + escaped(b), true);
  }
  for (const Shape shape : {Shape::list, Shape::tuple}) {
    if (!a.is(shape) || !b.is(shape)) continue;
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return sequence(shape, std::move(items));
  }
  no_operation("+", a, b);
}

Value Interpreter::multiply(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return arithmetic(Op::multiply, a, b);
  if (a.is_whole() && !b.is_whole()) return multiply(b, a);
  const bool row = a.is(Shape::list) || a.is(Shape::tuple);
  if (!b.is_whole() || (!a.is(Kind::text) && !row)) no_operation("*", a, b);
  const auto times = static_cast<std::uint64_t>(std::max<std::int64_t>(b.whole(), 0));
  std::uint64_t total = 0;
  if (__builtin_mul_overflow(a.weight(), times, &total))
    throw Fault("a product has too many bytes");
  charge(total);
  const Held held = hold(total);
  if (row) {
    std::vector<Value> items;
    for (std::uint64_t i = 0; i < times; ++i)
      items.insert(items.end(), a.items().begin(), a.items().end());
    return sequence(a.sequence().shape, std::move(items));
  }
  std::string out;
  if (!a.bytes().empty())
    for (std::uint64_t i = 0; i < times; ++i) out += a.bytes();
  return text(std::move(out), a.safe());
}

Value Interpreter::concatenate(const Expression& node) {
  std::vector<Value> pieces;
  std::uint64_t total = 0;
  for (const Expression* part : node.items) {
    Value piece = evaluate(*part);
    if (!piece.is(Kind::text)) piece = text(str_of(piece));
    total += piece.bytes().size();
    pieces.push_back(std::move(piece));
  }
  const Held held = hold(total);
  std::string out;
  for (const Value& piece : pieces) out += piece.bytes();
  return text(std::move(out));
}

Value Interpreter::literal(const Expression& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const Expression* part : node.items) items.push_back(evaluate(*part));
  line_ = node.line;
  if (node.op != Op::dict)
    return sequence(node.op == Op::list ? Shape::list : Shape::tuple, std::move(items));
  Value::Entries entries;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    charge(items[i].weight() + items[i + 1].weight());
    entries.emplace_back(items[i], items[i + 1]);
  }
  return dict(std::move(entries));
}

Value Interpreter::compare_chain(const Expression& node) {
  Value left = evaluate(*node.items[0]);
  for (std::size_t i = 0; i < node.comparisons.size(); ++i) {
    Value right = evaluate(*node.items[i + 1]);
    line_ = node.line;
    if (!compare_pair(node.comparisons[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

bool Interpreter::compare_pair(Comparison comparison, const Value& a, const Value& b) {
  switch (comparison) {
    case Comparison::eq:
      return are_equal(a, b);
    case Comparison::ne:
      return !are_equal(a, b);
    case Comparison::in:
      return contains(b, a);
    case Comparison::not_in:
      return !contains(b, a);
    default:
      break;
  }
  const int sign = compare(a, b);
  // Nothing is less than, equal to or greater than a number that is none.
  for (const Value* value : {&a, &b})
    if (value->is(Kind::real) && std::isnan(value->number())) return false;
  return comparison == Comparison::lt   ? sign < 0
         : comparison == Comparison::le ? sign <= 0
         : comparison == Comparison::gt ? sign > 0
                                        : sign >= 0;
}

Value Interpreter::slice(const Expression& node) {
  const Value object = evaluate(*node.items[0]);
  std::optional<std::int64_t> bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (node.items[i + 1] == nullptr) continue;
    const Value bound = evaluate(*node.items[i + 1]);
    if (bound.is(Kind::none)) continue;
    if (!bound.is_whole()) no_operation("[:]", object, bound);
    bounds[i] = bound.whole();
  }
  line_ = node.line;
  std::vector<Value> items;
  const bool of_text = object.is(Kind::text);
  if (of_text) {
    items = iterate(object);
  } else if (object.is(Shape::list) || object.is(Shape::tuple) || object.is(Shape::range)) {
    items = object.items();
  } else {
    no_operation("[:]", object, object);
  }
  const std::int64_t step = bounds[2].value_or(1), n = static_cast<std::int64_t>(items.size());
  if (step == 0) throw Fault("the step of a slice is 0");
  // Python clips the bounds to the positions that a walk in this direction can have.
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto clipped = [&](std::int64_t at) { return std::clamp(at < 0 ? at + n : at, low, high); };
  const std::int64_t begin = bounds[0]  ? clipped(*bounds[0])
                             : step > 0 ? low
                                        : high,
                     end = bounds[1]  ? clipped(*bounds[1])
                           : step > 0 ? high
                                      : low;
  std::vector<Value> out;
  std::string bytes;
  for (std::int64_t at = begin; step > 0 ? at < end : at > end;) {
    const Value& found = items[static_cast<std::size_t>(at)];
    if (of_text)
      bytes += found.bytes();
    else
      out.push_back(found);
    // A step beyond the end leaves the loop, whatever its size.
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  if (of_text) return text(std::move(bytes), object.safe());
  return sequence(object.sequence().shape, std::move(out));
}

Arguments Interpreter::arguments(const Expression& node) {
  Arguments out;
  for (std::size_t i = 1; i < node.items.size(); ++i)
    out.positional.push_back(evaluate(*node.items[i]));
  for (const auto& [name, expression] : node.keywords) {
    const Value value = evaluate(*expression);
    if (name == "*") {
      for (Value& further : iterate(value)) out.positional.push_back(std::move(further));
    } else if (name == "**") {
      if (!value.is(Kind::dict)) throw Fault("'**' needs a dict");
      for (const auto& [key, further] : value.entries()) {
        if (!key.is(Kind::text)) throw Fault("the names of arguments must be texts");
        add_keyword(out, key.bytes(), further);
      }
    } else {
      add_keyword(out, name, value);
    }
  }
  return out;
}

void Interpreter::add_keyword(Arguments& out, const std::string& name, const Value& value) {
  charge(name.size() + out.named.size());
  for (const auto& [other, unused] : out.named)
    if (other == name) throw Fault("the argument '" + name + "' is given twice");
  out.named.emplace_back(name, value);
}

}  // namespace espalier::text::jinja
