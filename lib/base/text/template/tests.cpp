// SPDX-License-Identifier: Apache-2.0
// Tests: what stands behind `is`.
#include <algorithm>
#include <cmath>

#include "text/template/builtins.h"
#include "text/template/python_text.h"

namespace espalier::text::jinja {
namespace {

struct Test {
  const char* name;
  // Parameters besides the value.
  std::size_t parameters;
  bool (*passes)(Interpreter& run, const Value& value, const Bound& bound);
};

// Whether value % by is `rest`, as Python divides.
bool leaves(const Value& value, double by, double rest) {
  if (value.is(Kind::undefined)) throw Fault(value.why());
  if (!value.is_number())
    throw Fault(std::string("a test needs a number, not a '") + type_name(value) + "'");
  if (by == 0) throw Fault("division by zero");
  double found = 0;
  if (value.is_whole() && by == std::trunc(by) && std::fabs(by) < 9e18) {
    const auto divisor = static_cast<std::int64_t>(by);
    found = divisor == -1 ? 0 : static_cast<double>(value.whole() % divisor);
  } else {
    found = std::fmod(value.number(), by);
  }
  if (found != 0 && (found < 0) != (by < 0)) found += by;
  return found == rest;
}

bool has_items(const Value& value) {
  return value.is(Kind::undefined) || value.is(Kind::text) || value.is(Kind::sequence) ||
         value.is(Kind::dict) || value.is(Kind::loop);
}

bool is_row(const Value& value) {
  return value.is(Kind::undefined) || value.is(Kind::text) || value.is(Kind::dict) ||
         value.is(Shape::list) || value.is(Shape::tuple) || value.is(Shape::range);
}

bool by_order(Interpreter& run, const Value& a, const Value& b, bool (*holds)(int)) {
  const int sign = run.compare(a, b);
  for (const Value* value : {&a, &b})
    if (value->is(Kind::real) && std::isnan(value->number())) return false;
  return holds(sign);
}

template <typename F>
constexpr Test plain(const char* name, F) {
  return {name, 0, [](Interpreter&, const Value& value, const Bound&) { return F{}(value); }};
}
template <typename F>
constexpr Test binary(const char* name, F) {
  return {name, 1, [](Interpreter& run, const Value& value, const Bound& bound) {
            return F{}(run, value, bound.value(0));
          }};
}

constexpr auto kEqual = [](Interpreter& run, const Value& a, const Value& b) {
  return run.are_equal(a, b);
};
constexpr auto kUnequal = [](Interpreter& run, const Value& a, const Value& b) {
  return !run.are_equal(a, b);
};
constexpr auto kLess = [](Interpreter& run, const Value& a, const Value& b) {
  return by_order(run, a, b, [](int sign) { return sign < 0; });
};
constexpr auto kAtMost = [](Interpreter& run, const Value& a, const Value& b) {
  return by_order(run, a, b, [](int sign) { return sign <= 0; });
};
constexpr auto kGreater = [](Interpreter& run, const Value& a, const Value& b) {
  return by_order(run, a, b, [](int sign) { return sign > 0; });
};
constexpr auto kAtLeast = [](Interpreter& run, const Value& a, const Value& b) {
  return by_order(run, a, b, [](int sign) { return sign >= 0; });
};

constexpr Test kTests[] = {
    plain("boolean", [](const Value& v) { return v.is(Kind::boolean); }),
    plain("callable",
          [](const Value& v) {
            return v.is(Kind::callable) || v.is(Kind::undefined) || v.is(Kind::loop);
          }),
    plain("defined", [](const Value& v) { return !v.is(Kind::undefined); }),
    plain("undefined", [](const Value& v) { return v.is(Kind::undefined); }),
    plain("escaped", [](const Value& v) { return v.safe(); }),
    plain("even", [](const Value& v) { return leaves(v, 2, 0); }),
    plain("odd", [](const Value& v) { return leaves(v, 2, 1); }),
    plain("true", [](const Value& v) { return v.is(Kind::boolean) && v.boolean(); }),
    plain("false", [](const Value& v) { return v.is(Kind::boolean) && !v.boolean(); }),
    plain("float", [](const Value& v) { return v.is(Kind::real); }),
    plain("integer", [](const Value& v) { return v.is(Kind::integer); }),
    plain("number", [](const Value& v) { return v.is_number(); }),
    plain("none", [](const Value& v) { return v.is(Kind::none); }),
    plain("mapping", [](const Value& v) { return v.is(Kind::dict); }),
    plain("string", [](const Value& v) { return v.is(Kind::text); }),
    plain("iterable", [](const Value& v) { return has_items(v); }),
    plain("sequence", [](const Value& v) { return is_row(v); }),
    {"lower", 0,
     [](Interpreter& run, const Value& v, const Bound&) { return all_lower(run.str_of(v)); }},
    {"upper", 0,
     [](Interpreter& run, const Value& v, const Bound&) { return all_upper(run.str_of(v)); }},
    {"filter", 0,
     [](Interpreter&, const Value& v, const Bound&) {
       return v.is(Kind::text) && is_filter(v.bytes());
     }},
    {"test", 0,
     [](Interpreter&, const Value& v, const Bound&) {
       return v.is(Kind::text) && is_test(v.bytes());
     }},
    {"divisibleby", 1,
     [](Interpreter&, const Value& v, const Bound& bound) {
       if (!bound.value(0).is_number()) throw Fault("divisibleby needs a number");
       return leaves(v, bound.value(0).number(), 0);
     }},
    binary("in",
           [](Interpreter& run, const Value& a, const Value& b) { return run.contains(b, a); }),
    binary("sameas", [](Interpreter&, const Value& a, const Value& b) { return a.same_as(b); }),
    binary("eq", kEqual),
    binary("equalto", kEqual),
    binary("==", kEqual),
    binary("ne", kUnequal),
    binary("!=", kUnequal),
    binary("lt", kLess),
    binary("lessthan", kLess),
    binary("<", kLess),
    binary("le", kAtMost),
    binary("<=", kAtMost),
    binary("gt", kGreater),
    binary("greaterthan", kGreater),
    binary(">", kGreater),
    binary("ge", kAtLeast),
    binary(">=", kAtLeast),
};

const Test* find_test(std::string_view name) {
  for (const Test& test : kTests)
    if (name == test.name) return &test;
  return nullptr;
}

}  // namespace

bool is_test(std::string_view name) { return find_test(name) != nullptr; }

bool apply_test(Interpreter& run, const std::string& name, const Value& value,
                const Arguments& arguments) {
  const Test* test = find_test(name);
  if (test == nullptr) throw Fault("there is no test named '" + name + "'");
  if (test->parameters == 0)
    return test->passes(run, value, Bound("the test " + name, arguments, {}));
  return test->passes(run, value, Bound("the test " + name, arguments, {"other"}, 1));
}

}  // namespace espalier::text::jinja
