// SPDX-License-Identifier: Apache-2.0
// The filter tojson: json.dumps() of Python, with characters beyond ASCII as they are.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/template/builtins.h"
#include "text/utf8.h"

namespace espalier::text::jinja {
namespace {

struct Style {
  bool ascii = false, sorted = false, lines = false;
  std::string margin = {}, between = ", ", colon = ": ";
};

std::string number_text(const Value& value) {
  const double number = value.number();
  if (value.is(Kind::real) && std::isnan(number)) return "NaN";
  if (value.is(Kind::real) && std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
  return value.is(Kind::real) ? real_text(number) : std::to_string(value.whole());
}

class Writer {
 public:
  Writer(Interpreter& run, const Style& style) : run_(run), style_(style) {}
  std::string out;

  void write(const Value& value) {
    run_.charge(1);
    run_.hold(out.size());  // a check: what is written so far must fit
    switch (value.kind()) {
      case Kind::none:
        out += "null";
        return;
      case Kind::boolean:
        out += value.boolean() ? "true" : "false";
        return;
      case Kind::integer:
      case Kind::real:
        out += number_text(value);
        return;
      case Kind::text:
        return text(value.bytes());
      case Kind::dict:
        return dict(value.entries());
      default:
        break;
    }
    if (!value.is(Shape::list) && !value.is(Shape::tuple))
      throw Fault(value.is(Kind::undefined)
                      ? value.why()
                      : std::string("tojson: a '") + type_name(value) + "' cannot be written");
    list(value.items());
  }

 private:
  void text(std::string_view bytes) {
    run_.charge(bytes.size() * 2);
    static constexpr std::string_view kPlain = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
    out += '"';
    for (std::size_t at = 0; at < bytes.size();) {
      const CodePoint point = code_point_at(bytes, at);
      at += point.length;
      const std::size_t plain =
          point.value < 0x80 ? kPlain.find(static_cast<char>(point.value)) : std::string_view::npos;
      if (plain != std::string_view::npos) {
        out += {'\\', kLetters[plain]};
      } else if (point.value < 0x20 || (style_.ascii && point.value > 0x7E)) {
        escape(point.value);
      } else {
        append_code_point(out, point.value);
      }
    }
    out += '"';
  }

  void escape(char32_t c) {
    char buffer[16];
    if (c > 0xFFFF) {
      const unsigned high = 0xD800 + ((static_cast<unsigned>(c) - 0x10000) >> 10),
                     low = 0xDC00 + ((static_cast<unsigned>(c) - 0x10000) & 0x3FF);
      std::snprintf(buffer, sizeof buffer, "\\u%04x\\u%04x", high, low);
    } else {
      std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(c));
    }
    out += buffer;
  }

  void line() {
    if (!style_.lines) return;
    const std::uint64_t more = static_cast<std::uint64_t>(level_) * style_.margin.size() + 1;
    run_.charge(more);
    run_.hold(out.size() + more);
    out += '\n';
    for (int i = 0; i < level_; ++i) out += style_.margin;
  }

  void list(const std::vector<Value>& items) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    ++level_;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.between;
      line();
      write(items[i]);
    }
    --level_;
    line();
    out += ']';
  }

  void key(const Value& value) {
    if (value.is(Kind::text)) return text(value.bytes());
    if (value.is(Kind::none)) return text("null");
    if (value.is(Kind::boolean)) return text(value.boolean() ? "true" : "false");
    if (!value.is_number())
      throw Fault(std::string("tojson: a '") + type_name(value) + "' is no key");
    text(number_text(value));
  }

  void dict(const Value::Entries& entries) {
    if (entries.empty()) {
      out += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> order;
    for (const auto& entry : entries) order.push_back(&entry);
    if (style_.sorted)
      std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) {
        return run_.compare(a->first, b->first) < 0;
      });
    out += '{';
    ++level_;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0) out += style_.between;
      line();
      key(order[i]->first);
      out += style_.colon;
      write(order[i]->second);
    }
    --level_;
    line();
    out += '}';
  }

  Interpreter& run_;
  const Style& style_;
  int level_ = 0;
};

}  // namespace

std::string to_json(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Bound bound("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  Style style{.ascii = bound.flag(0, false), .sorted = bound.flag(3, false)};
  if (bound.has_value(1)) {
    style.lines = true;
    style.between = ",";
    if (bound.value(1).is(Kind::text)) {
      style.margin = bound.text(1);
    } else {
      const std::int64_t width = std::max<std::int64_t>(bound.whole(1), 0);
      run.charge(static_cast<std::uint64_t>(width));
      style.margin = std::string(static_cast<std::size_t>(width), ' ');
    }
  }
  if (bound.has_value(2)) {
    const std::vector<Value> two = run.iterate(bound.value(2));
    if (two.size() != 2 || !two[0].is(Kind::text) || !two[1].is(Kind::text))
      throw Fault("tojson: separators are two texts");
    style.between = two[0].bytes();
    style.colon = two[1].bytes();
    run.charge(style.between.size() + style.colon.size());
  }
  Writer writer(run, style);
  // Separators may be long, and every item brings one.
  run.charge(value.weight() * (style.between.size() + style.colon.size()));
  writer.write(value);
  return std::move(writer.out);
}

}  // namespace espalier::text::jinja
