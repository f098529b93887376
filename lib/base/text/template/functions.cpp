// SPDX-License-Identifier: Apache-2.0
// Functions that a template can call by name.
#include <algorithm>
#include <ctime>

#include "text/template/builtins.h"

namespace espalier::text::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100000;  // the sandbox's

Value range(Interpreter& run, const Arguments& given) {
  const Bound bound("range", given, {"start", "stop", "step"}, 1);
  const bool one = !bound.has(1);
  const std::int64_t begin = one ? 0 : bound.whole(0), end = bound.whole(one ? 0 : 1),
                     step = bound.has(2) ? bound.whole(2) : 1;
  if (step == 0) throw Fault("range: the step is 0");
  std::vector<Value> out;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<std::int64_t>(out.size()) >= kMaxRange)
      throw Fault("range: more than " + std::to_string(kMaxRange) + " numbers");
    out.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return run.sequence(Shape::range, std::move(out));
}

// dict(pairs, name=value, ...)
Value::Entries entries_of(Interpreter& run, const char* function, const Arguments& given) {
  Value::Entries out;
  if (given.positional.size() > 1)
    throw Fault(std::string(function) + " takes one argument without a name at most");
  for (const Value& first : given.positional) {
    if (first.is(Kind::dict)) {
      out = first.entries();
      continue;
    }
    for (const Value& pair : run.iterate(first)) {
      std::vector<Value> two = run.iterate(pair);
      if (two.size() != 2) throw Fault(std::string(function) + ": expected pairs of key and value");
      out.emplace_back(std::move(two[0]), std::move(two[1]));
    }
  }
  for (const auto& [name, value] : given.named) out.emplace_back(run.text(name), value);
  return out;
}

Value make_namespace(Interpreter& run, const Arguments& given) {
  const Value held = run.dict(entries_of(run, "namespace", given));
  Namespace* out = run.new_namespace();
  for (const auto& [key, value] : held.entries()) {
    if (!key.is(Kind::text)) throw Fault("namespace: the names of attributes are texts");
    if (key.bytes().starts_with("_"))
      throw Fault("the attribute '" + key.bytes() + "' of a namespace begins with _");
    out->attributes.emplace_back(key.bytes(), value);
  }
  return Value::name_space(out);
}

// Python's additions to the C library's formats: a time without a zone writes none.
std::string without_zone(const std::string& format) {
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    const char c = format[++i];
    if (c == 'f') throw Fault("strftime_now: microseconds (%f) are not supported");
    if (c != 'z' && c != 'Z') out += {'%', c};
  }
  return out;
}

Value strftime_now(Interpreter& run, const Arguments& given) {
  const Bound bound("strftime_now", given, {"format"}, 1);
  const std::string format =
      without_zone(bound.text(0)) + "|";  // so that nothing written means no room
  if (format.size() > 1000) throw Fault("strftime_now: the format has more than 1000 bytes");
  std::string out(16384, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &run.now()));
  if (out.empty()) throw Fault("strftime_now: the format '" + bound.text(0) + "' is not supported");
  out.pop_back();
  return run.text(std::move(out));
}

[[noreturn]] void raise_exception(Interpreter& run, const Arguments& given) {
  const Bound bound("raise_exception", given, {"message"}, 1);
  throw Fault(run.str_of(bound.value(0)), true);
}

constexpr std::string_view kFunctions[] = {"range",        "dict",   "namespace", "raise_exception",
                                           "strftime_now", "lipsum", "cycler",    "joiner"};

}  // namespace

bool is_function(std::string_view name) {
  return std::find(std::begin(kFunctions), std::end(kFunctions), name) != std::end(kFunctions);
}

Value call_function(Interpreter& run, const std::string& name, const Arguments& arguments) {
  if (name == "range") return range(run, arguments);
  if (name == "dict") return run.dict(entries_of(run, "dict", arguments));
  if (name == "namespace") return make_namespace(run, arguments);
  if (name == "strftime_now") return strftime_now(run, arguments);
  if (name == "raise_exception") raise_exception(run, arguments);
  throw Fault("the function '" + name + "' is not supported");
}

}  // namespace espalier::text::jinja
