// SPDX-License-Identifier: Apache-2.0
// The two ways of formatting: "%s" % values and "{}".format(values). Both share the layout of one
// field: fill, alignment, sign, width, precision.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/template/builtins.h"
#include "text/template/python_text.h"
#include "text/utf8.h"

namespace espalier::text::jinja {
namespace {

constexpr std::int64_t kMaxWidth = 10000;

struct Field {
  std::string fill = " ";
  char align = 0;  // < > ^, or = (between sign and digits); 0: by the type of the value
  char sign = '-';
  bool alternate = false;
  std::int64_t width = 0;
  std::int64_t precision = -1;
  char type = 0;
};

std::string padded(const Field& field, const std::string& sign, const std::string& body,
                   char usual) {
  const auto n = static_cast<std::int64_t>(count_points(sign) + count_points(body));
  const std::int64_t missing = std::max<std::int64_t>(field.width - n, 0);
  const char align = field.align == 0 ? usual : field.align;
  const std::int64_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  std::string before, after;
  for (std::int64_t i = 0; i < left; ++i) before += field.fill;
  for (std::int64_t i = left; i < missing; ++i) after += field.fill;
  return align == '=' ? sign + before + body : before + sign + body + after;
}

std::string real_field(const Field& field, double value) {
  const int precision = static_cast<int>(field.precision < 0 ? 6 : field.precision);
  const char pattern[] = {'%', '.', '*', field.type, 0};
  char buffer[12000];
  std::snprintf(buffer, sizeof buffer, pattern, precision, std::fabs(value));
  return buffer;
}

std::string whole_field(const Field& field, std::int64_t value) {
  const auto size = value < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(value)
                              : static_cast<std::uint64_t>(value);
  char buffer[72];
  const int base = field.type == 'x' || field.type == 'X' ? 16 : field.type == 'o' ? 8 : 10;
  std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, size, base).ptr);
  if (field.type == 'X') out = to_upper(out);
  if (field.alternate && base != 10)
    out = (base == 8 ? "0o" : field.type == 'X' ? "0X" : "0x") + out;
  return out;
}

std::string sign_text(const Field& field, bool negative) {
  return negative ? "-" : field.sign == '-' ? "" : std::string(1, field.sign);
}

std::string number_field(const Field& field, const Value& value) {
  const bool real = std::string_view("fFeEgG").find(field.type) != std::string_view::npos;
  if (real) {
    if (field.alternate) throw Fault("the format '#' is not supported for numbers with a point");
    return padded(field, sign_text(field, std::signbit(value.number())),
                  real_field(field, value.number()), '>');
  }
  std::int64_t whole = 0;
  if (value.is_whole()) {
    whole = value.whole();
  } else if (std::fabs(value.number()) < 9.2e18) {
    whole = static_cast<std::int64_t>(value.number());
  } else {
    throw Fault("a number does not fit into 64 bits");
  }
  return padded(field, sign_text(field, whole < 0), whole_field(field, whole), '>');
}

// The first code points of a text.
std::string cut(const std::string& text, std::int64_t precision) {
  return precision < 0 ? text : text.substr(0, byte_at(text, static_cast<std::size_t>(precision)));
}

// Reads a number at `at` and moves behind it; -1 when there is none.
std::int64_t read_size(std::string_view format, std::size_t& at) {
  std::int64_t value = -1;
  for (; at < format.size() && format[at] >= '0' && format[at] <= '9'; ++at) {
    value = std::max<std::int64_t>(value, 0) * 10 + (format[at] - '0');
    if (value > kMaxWidth) throw Fault("a format is wider than 10000 characters");
  }
  return value;
}

// ---- % ----

struct Percent {
  Interpreter& run;
  const Value& values;
  std::size_t next = 0;

  Value take() {
    if (!values.is(Shape::tuple)) {
      if (next++ > 0) throw Fault("'%' has more formats than values");
      return values;
    }
    if (next >= values.items().size()) throw Fault("'%' has more formats than values");
    return values.items()[next++];
  }
  void check_all_used() const {
    const bool row = values.is(Shape::tuple);
    const bool needed = row ? next < values.items().size()
                            : next == 0 && !values.is(Kind::dict) && !values.is(Shape::list);
    if (needed) throw Fault("'%' has more values than formats");
  }
};

Field percent_field(std::string_view format, std::size_t& at) {
  Field field;
  bool zero = false;
  for (; at < format.size(); ++at) {
    const char c = format[at];
    if (c == '-')
      field.align = '<';
    else if (c == '0')
      zero = true;
    else if (c == '+' || (c == ' ' && field.sign != '+'))
      field.sign = c;
    else if (c == '#')
      field.alternate = true;
    else if (c != ' ')
      break;
  }
  field.width = std::max<std::int64_t>(read_size(format, at), 0);
  if (at < format.size() && format[at] == '.') {
    ++at;
    field.precision = std::max<std::int64_t>(read_size(format, at), 0);
  }
  if (at >= format.size()) throw Fault("a format after '%' is incomplete");
  field.type = format[at++];
  if (zero && field.align == 0 &&
      std::string_view("diuxXofFeEgG").find(field.type) != std::string_view::npos) {
    field.fill.assign(1, '0');
    field.align = '=';
  }
  return field;
}

std::string percent_value(Interpreter& run, const Field& field, const Value& value) {
  if (value.is(Kind::undefined) && field.type != 's' && field.type != 'r') throw Fault(value.why());
  if (field.type == 's' || field.type == 'r')
    return padded(field, "",
                  cut(field.type == 's' ? run.str_of(value) : repr(value), field.precision), '>');
  if (std::string_view("diuxXofFeEgG").find(field.type) == std::string_view::npos)
    throw Fault(std::string("the format '%") + field.type + "' is not supported");
  if (!value.is_number())
    throw Fault(std::string("the format '%") + field.type + "' needs a number, not a '" +
                type_name(value) + "'");
  const bool whole_only = std::string_view("xXo").find(field.type) != std::string_view::npos;
  if (whole_only && !value.is_whole())
    throw Fault(std::string("the format '%") + field.type + "' needs a whole number");
  if (std::string_view("diuxXo").find(field.type) != std::string_view::npos && field.precision >= 0)
    throw Fault("a precision for whole numbers is not supported");
  return number_field(field, value);
}

}  // namespace

std::string format_percent(Interpreter& run, std::string_view format, const Value& values) {
  std::string out;
  Percent source{.run = run, .values = values};
  run.charge(format.size());
  for (std::size_t at = 0; at < format.size();) {
    if (format[at] != '%') {
      out += format[at++];
      continue;
    }
    if (++at >= format.size()) throw Fault("a format after '%' is incomplete");
    if (format[at] == '%') {
      out += format[at++];
      continue;
    }
    std::optional<Value> value;
    if (format[at] == '(') {
      const std::size_t end = format.find(')', at);
      if (end == std::string_view::npos) throw Fault("a format after '%' is incomplete");
      if (!values.is(Kind::dict)) throw Fault("the format '%(' needs a dict");
      const std::string_view name = format.substr(at + 1, end - at - 1);
      const Value* found = find(values.entries(), name);
      if (found == nullptr) throw Fault("'%' finds no '" + std::string(name) + "'");
      value = *found;
      at = end + 1;
    }
    const Field field = percent_field(format, at);
    if (!value) value = source.take();
    const std::string piece = percent_value(run, field, *value);
    run.charge(piece.size());
    const Held held = run.hold(out.size() + piece.size());
    out += piece;
  }
  source.check_all_used();
  return out;
}

namespace {

// ---- {} ----

// [[fill]align][sign][#][0][width][.precision][type]
Field brace_field(std::string_view spec) {
  Field field;
  std::size_t at = 0;
  const auto is_align = [&](std::size_t i) {
    return i < spec.size() && std::string_view("<>^=").find(spec[i]) != std::string_view::npos;
  };
  const std::size_t fill = spec.empty() ? 0 : code_point_at(spec, 0).length;
  if (is_align(fill) && fill > 0) {
    field.fill = std::string(spec.substr(0, fill));
    field.align = spec[fill];
    at = fill + 1;
  } else if (is_align(0)) {
    field.align = spec[at++];
  }
  if (at < spec.size() && (spec[at] == '+' || spec[at] == '-' || spec[at] == ' '))
    field.sign = spec[at++];
  if (at < spec.size() && spec[at] == '#') {
    field.alternate = true;
    ++at;
  }
  if (at < spec.size() && spec[at] == '0' && field.align == 0) {
    field.fill.assign(1, '0');
    field.align = '=';
  }
  field.width = std::max<std::int64_t>(read_size(spec, at), 0);
  if (at < spec.size() && spec[at] == '.') {
    ++at;
    field.precision = read_size(spec, at);
    if (field.precision < 0)
      throw Fault("the format '" + std::string(spec) + "' lacks its precision");
  }
  if (at < spec.size()) field.type = spec[at++];
  if (at != spec.size()) throw Fault("the format '" + std::string(spec) + "' is not supported");
  return field;
}

std::string brace_value(Interpreter& run, std::string_view spec, const Value& value) {
  if (spec.empty()) return run.str_of(value);
  const Field field = brace_field(spec);
  if (value.is(Kind::text) && (field.type == 0 || field.type == 's') && field.align != '=')
    return padded(field, "", cut(value.bytes(), field.precision), '<');
  const std::string_view whole = "dxXo", real = "fFeEgG";
  const bool as_whole = value.is_whole() && field.precision < 0 &&
                        ((field.type == 0 && value.is(Kind::integer)) ||
                         (field.type != 0 && whole.find(field.type) != std::string_view::npos));
  const bool as_real = value.is_number() && field.type != 0 &&
                       real.find(field.type) != std::string_view::npos &&
                       std::isfinite(value.number());
  if (!as_whole && !as_real)
    throw Fault("the format '" + std::string(spec) + "' is not supported for a '" +
                type_name(value) + "'");
  return number_field(field, value);
}

// The value that a field names: nothing, a position or a name.
Value brace_source(std::string_view name, const Arguments& arguments, std::int64_t& automatic) {
  const bool digits =
      !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos;
  if (name.empty() || digits) {
    if ((name.empty() && automatic < 0) || (digits && automatic > 0))
      throw Fault("str.format: numbered and unnumbered fields are mixed");
    std::size_t unused = 0;
    const std::int64_t position = digits ? read_size(name, unused) : automatic;
    automatic = digits ? -1 : automatic + 1;
    if (static_cast<std::size_t>(position) >= arguments.positional.size())
      throw Fault("str.format has more fields than values");
    return arguments.positional[static_cast<std::size_t>(position)];
  }
  if (name.find_first_of(".[") != std::string_view::npos)
    throw Fault("str.format: attributes in a field are not supported");
  for (const auto& [known, value] : arguments.named)
    if (known == name) return value;
  throw Fault("str.format finds no '" + std::string(name) + "'");
}

}  // namespace

std::string format_braces(Interpreter& run, std::string_view format, const Arguments& arguments) {
  std::string out;
  std::int64_t automatic = 0;  // the next position; -1 once positions were given
  for (std::size_t at = 0; at < format.size();) {
    const char c = format[at];
    if (c != '{' && c != '}') {
      out += format[at++];
      continue;
    }
    if (at + 1 < format.size() && format[at + 1] == c) {
      out += c;
      at += 2;
      continue;
    }
    const std::size_t end = format.find('}', at);
    if (c == '}' || end == std::string_view::npos)
      throw Fault("str.format: a brace has no other half");
    std::string_view field = format.substr(at + 1, end - at - 1), spec;
    if (field.find('{') != std::string_view::npos)
      throw Fault("str.format: fields in fields are not supported");
    if (const std::size_t colon = field.find(':'); colon != std::string_view::npos) {
      spec = field.substr(colon + 1);
      field = field.substr(0, colon);
    }
    char conversion = 0;
    if (const std::size_t mark = field.find('!'); mark != std::string_view::npos) {
      if (field.substr(mark) != "!r" && field.substr(mark) != "!s")
        throw Fault("str.format: only !r and !s are supported");
      conversion = field.back();
      field = field.substr(0, mark);
    }
    Value value = brace_source(field, arguments, automatic);
    if (conversion != 0) value = run.text(conversion == 'r' ? repr(value) : run.str_of(value));
    const std::string piece = brace_value(run, spec, value);
    run.charge(piece.size());
    const Held held = run.hold(out.size() + piece.size());
    out += piece;
    at = end + 1;
  }
  return out;
}

}  // namespace espalier::text::jinja
