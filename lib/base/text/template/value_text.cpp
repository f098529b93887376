// SPDX-License-Identifier: Apache-2.0
// How values print: Python's str() and repr().
#include <utf8proc.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>

#include "text/template/syntax.h"
#include "text/template/value.h"
#include "text/utf8.h"

namespace espalier::text::jinja {
namespace {

bool prints(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

void append_escape(std::string& out, char32_t c) {
  char buffer[16];
  const char* format = c <= 0xFF ? "\\x%02x" : c <= 0xFFFF ? "\\u%04x" : "\\U%08x";
  std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned>(c));
  out += buffer;
}

void append_repr(std::string& out, const Value& value);

void append_items(std::string& out, const std::vector<Value>& items, const char* open,
                  const char* close) {
  out += open;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, items[i]);
  }
  out += close;
}

void append_sequence(std::string& out, const Value& value) {
  switch (value.sequence().shape) {
    case Shape::list:
      return append_items(out, value.items(), "[", "]");
    case Shape::tuple:
      return append_items(out, value.items(), "(", value.items().size() == 1 ? ",)" : ")");
    case Shape::keys:
    case Shape::values:
    case Shape::items:
      return append_items(out, value.items(), (std::string(type_name(value)) + "([").c_str(), "])");
    case Shape::range:
    case Shape::generator:
      throw Fault(std::string("printing a ") + type_name(value) +
                  " is not supported; make a list of it");
  }
}

void append_repr(std::string& out, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      out += "Undefined";
      return;
    case Kind::none:
      out += "None";
      return;
    case Kind::boolean:
      out += value.boolean() ? "True" : "False";
      return;
    case Kind::integer:
      out += std::to_string(value.whole());
      return;
    case Kind::real:
      out += real_text(value.number());
      return;
    case Kind::text:
      if (value.safe()) out += "Markup(";
      append_quoted(out, value.bytes());
      if (value.safe()) out += ")";
      return;
    case Kind::sequence:
      return append_sequence(out, value);
    case Kind::dict: {
      out += "{";
      const char* comma = "";
      for (const auto& [key, item] : value.entries()) {
        out += comma;
        append_repr(out, key);
        out += ": ";
        append_repr(out, item);
        comma = ", ";
      }
      out += "}";
      return;
    }
    case Kind::loop:
      out += "<LoopContext " + std::to_string(value.loop()->index + 1) + "/" +
             std::to_string(value.loop()->items.size()) + ">";
      return;
    case Kind::callable:
      if (const Statement* macro = value.callable().macro) {
        out += "<Macro ";
        if (macro->kind == Statement::Kind::call_block)
          out += "anonymous";
        else
          append_quoted(out, macro->text);
        out += ">";
        return;
      }
      [[fallthrough]];
    default:
      throw Fault(std::string("printing a '") + type_name(value) + "' is not supported");
  }
}

}  // namespace

void append_quoted(std::string& out, std::string_view text) {
  const bool twice =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char32_t quote = twice ? U'"' : U'\'';
  append_code_point(out, quote);
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    if (point.value == quote || point.value == U'\\') {
      out += '\\';
      append_code_point(out, point.value);
    } else if (point.value == U'\n') {
      out += "\\n";
    } else if (point.value == U'\r') {
      out += "\\r";
    } else if (point.value == U'\t') {
      out += "\\t";
    } else if (prints(point.value)) {
      append_code_point(out, point.value);
    } else {
      append_escape(out, point.value);
    }
    at += point.length;
  }
  append_code_point(out, quote);
}

// The shortest digits that read back the same, with an exponent below 1e-4 and from 1e16.
std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t mark = shortest.find('e');
  const int exponent = std::stoi(std::string(shortest.substr(mark + 1)));
  std::string sign, digits;
  for (const char c : shortest.substr(0, mark)) {
    if (c == '-') sign.assign(1, c);
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < -4 || exponent >= 16) {
    std::string out = sign + digits.substr(0, 1);
    if (digits.size() > 1) out.append(1, '.').append(digits, 1);
    std::snprintf(buffer, sizeof buffer, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return out + buffer;
  }
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const std::size_t whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string str(const Value& value) {
  if (value.is(Kind::undefined)) return "";
  if (value.is(Kind::text)) return value.bytes();
  std::string out;
  append_repr(out, value);
  return out;
}

std::string repr(const Value& value) {
  std::string out;
  append_repr(out, value);
  return out;
}

}  // namespace espalier::text::jinja
