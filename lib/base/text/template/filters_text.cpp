// SPDX-License-Identifier: Apache-2.0
// Filters that make a text or a number.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "text/template/builtins.h"
#include "text/template/python_number.h"
#include "text/template/python_text.h"

namespace espalier::text::jinja {
namespace {

// The value as a text that keeps its mark.
Value soft(Interpreter& run, const Value& value) {
  return value.is(Kind::text) ? value : run.text(run.str_of(value));
}

template <std::string (*change)(std::string_view)>
Value changed_text(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("a filter of texts", given, {});
  const Value text = soft(run, value);
  run.charge(text.bytes().size());
  return run.text(change(text.bytes()), text.safe());
}

Value string_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("string", given, {});
  return soft(run, value);
}

Value safe_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("safe", given, {});
  return value.safe() ? value : run.text(run.str_of(value), true);
}

Value escape_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("escape", given, {});
  return value.safe() ? value : run.text(html_escaped(run.str_of(value)), true);
}

Value forced_escape(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("forceescape", given, {});
  return run.text(html_escaped(run.str_of(value)), true);
}

Value trim_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("trim", given, {"chars"});
  std::optional<std::string> chars;
  if (bound.has_value(0)) chars = bound.text(0);
  const Value text = soft(run, value);
  return run.text(std::string(strip(text.bytes(), Side::both, chars)), text.safe());
}

Value replace_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("replace", given, {"old", "new", "count"}, 2);
  const std::string text = run.str_of(value), from = run.str_of(bound.value(0)),
                    to = run.str_of(bound.value(1));
  run.charge(text.size() + count_of(text, from) * to.size());
  return run.text(replaced(text, from, to, bound.whole_or(2, -1)));
}

Value indent_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("indent", given, {"width", "first", "blank"});
  std::string margin(4, ' ');
  if (bound.has(0) && bound.value(0).is(Kind::text)) {
    margin = bound.text(0);
  } else if (bound.has(0)) {
    const std::int64_t width = std::max<std::int64_t>(bound.whole(0), 0);
    run.charge(static_cast<std::uint64_t>(width));
    margin = std::string(static_cast<std::size_t>(width), ' ');
  }
  if (!value.is(Kind::text))
    throw Fault(std::string("indent: expected a text, found a '") + type_name(value) + "'");
  if (value.safe()) throw Fault("indent of a text that is marked safe is not supported");
  const bool first = bound.flag(1, false), blank = bound.flag(2, false);
  const Held parts = run.hold(value.bytes().size() * sizeof(std::string));
  const std::vector<std::string> lines = split_lines(value.bytes() + "\n", false);
  run.charge(value.bytes().size() + lines.size() * (margin.size() + sizeof(std::string)));
  std::string out = first ? margin : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    if (i > 0 && (blank || !lines[i].empty())) out += margin;
    out += lines[i];
  }
  return run.text(std::move(out));
}

Value format_filter(Interpreter& run, const Value& value, const Arguments& given) {
  if (!given.positional.empty() && !given.named.empty())
    throw Fault("format takes arguments in order or by name, not both");
  Value values = run.sequence(Shape::tuple, given.positional);
  if (!given.named.empty()) {
    Value::Entries entries;
    for (const auto& [name, item] : given.named) entries.emplace_back(run.text(name), item);
    values = run.dict(std::move(entries));
  }
  return run.text(format_percent(run, run.str_of(value), values));
}

Value center_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("center", given, {"width"});
  return call_text_method(run, soft(run, value), "center",
                          {.positional = {Value::integer(bound.whole_or(0, 80))}, .named = {}});
}

Value wordcount(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("wordcount", given, {});
  const std::string text = run.str_of(value);
  std::int64_t words = 0;
  bool inside = false;
  for (const std::string& c : characters(text)) {
    const bool word =
        c == "_" || all_of(c, [](char32_t p) { return is_letter(p) || is_numeric(p); });
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(words);
}

Value tojson_filter(Interpreter& run, const Value& value, const Arguments& given) {
  return run.text(to_json(run, value, given));
}

Value int_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("int", given, {"default", "base"});
  if (value.is(Kind::undefined)) throw Fault(value.why());
  if (value.is_whole()) return Value::integer(value.whole());
  const Value fallback = bound.value_or(0, Value::integer(0));
  std::optional<double> real;
  if (value.is(Kind::text)) {
    run.charge(value.bytes().size());
    if (bound.whole_or(1, 10) != 10) throw Fault("int of another base than 10 is not supported");
    if (const auto whole = parse_whole(value.bytes())) return Value::integer(*whole);
    real = parse_real(value.bytes());
  } else if (value.is(Kind::real)) {
    real = value.number();
    if (std::isinf(*real)) throw Fault("int: infinity is no whole number");
  }
  if (!real || !std::isfinite(*real)) return fallback;
  if (std::fabs(*real) >= 9.2e18) throw Fault("a number does not fit into 64 bits");
  return Value::integer(static_cast<std::int64_t>(*real));
}

Value float_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("float", given, {"default"});
  if (value.is(Kind::undefined)) throw Fault(value.why());
  if (value.is_number()) return Value::real(value.number());
  std::optional<double> real;
  if (value.is(Kind::text)) {
    run.charge(value.bytes().size());
    real = parse_real(value.bytes());
  }
  return real ? Value::real(*real) : bound.value_or(0, Value::real(0));
}

Value abs_filter(Interpreter&, const Value& value, const Arguments& given) {
  const Bound none("abs", given, {});
  if (value.is(Kind::undefined)) throw Fault(value.why());
  if (value.is(Kind::real)) return Value::real(std::fabs(value.number()));
  if (!value.is_whole()) throw Fault(std::string("abs: a '") + type_name(value) + "' is no number");
  if (value.whole() == std::numeric_limits<std::int64_t>::min())
    throw Fault("a number does not fit into 64 bits");
  return Value::integer(std::abs(value.whole()));
}

// round() rounds the exact binary value, halves to even, as printf does.
Value round_filter(Interpreter&, const Value& value, const Arguments& given) {
  const Bound bound("round", given, {"precision", "method"});
  const std::int64_t digits = bound.whole_or(0, 0);
  const std::string method = bound.has(1) ? bound.text(1) : "common";
  if (value.is(Kind::undefined)) throw Fault(value.why());
  if (!value.is_number())
    throw Fault(std::string("round: a '") + type_name(value) + "' is no number");
  if (digits < 0 || digits > 300) throw Fault("round: the precision must be 0 to 300");
  if (method == "common") {
    if (value.is_whole()) return Value::integer(value.whole());
    if (!std::isfinite(value.number())) return value;
    char buffer[700];
    std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), value.number());
    return Value::real(std::strtod(buffer, nullptr));
  }
  if (method != "ceil" && method != "floor")
    throw Fault("round: the method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(digits)), scaled = value.number() * scale;
  if (!std::isfinite(scaled)) throw Fault("round: the number is too large");
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

constexpr Filter kTextFilters[] = {{"abs", abs_filter},
                                   {"capitalize", changed_text<capitalized>},
                                   {"center", center_filter},
                                   {"e", escape_filter},
                                   {"escape", escape_filter},
                                   {"float", float_filter},
                                   {"forceescape", forced_escape},
                                   {"format", format_filter},
                                   {"indent", indent_filter},
                                   {"int", int_filter},
                                   {"lower", changed_text<to_lower>},
                                   {"replace", replace_filter},
                                   {"round", round_filter},
                                   {"safe", safe_filter},
                                   {"string", string_filter},
                                   {"title", changed_text<title_by_space>},
                                   {"tojson", tojson_filter},
                                   {"trim", trim_filter},
                                   {"upper", changed_text<to_upper>},
                                   {"wordcount", wordcount}};

}  // namespace

std::span<const Filter> text_filters() { return kTextFilters; }

}  // namespace espalier::text::jinja
