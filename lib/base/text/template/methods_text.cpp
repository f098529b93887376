// SPDX-License-Identifier: Apache-2.0
// Methods of texts, in Python's names and with its parameters.
#include <algorithm>
#include <limits>

#include "text/template/builtins.h"
#include "text/template/python_text.h"

namespace espalier::text::jinja {
namespace {

struct TextMethod {
  const char* name;
  // nullptr: Python has it, we do not.
  Value (*call)(Interpreter& run, const Value& self, const Arguments& given);
};

template <std::string (*change)(std::string_view)>
Value changed(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound none("a method of texts", given, {});
  return run.text(change(self.bytes()), self.safe());
}

template <bool (*holds)(std::string_view)>
Value asked(Interpreter&, const Value& self, const Arguments& given) {
  const Bound none("a method of texts", given, {});
  return Value::boolean(holds(self.bytes()));
}

template <bool (*is)(char32_t)>
bool all_are(std::string_view text) {
  return all_of(text, is);
}

bool is_alnum(char32_t c) { return is_letter(c) || is_numeric(c); }
bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (static_cast<unsigned char>(c) & 0x80) == 0; });
}

template <Side side>
Value strip_method(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.strip", given, {"chars"});
  std::optional<std::string> chars;
  if (bound.has_value(0)) chars = bound.text(0);
  return run.text(std::string(strip(self.bytes(), side, chars)), self.safe());
}

Value texts(Interpreter& run, std::vector<std::string> parts, bool safe) {
  run.charge(parts.size() * (sizeof(Value) + sizeof(Text)));
  std::vector<Value> out;
  out.reserve(parts.size());
  for (std::string& part : parts) out.push_back(run.text(std::move(part), safe));
  return run.list(std::move(out));
}

template <bool from_right>
Value split_method(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.split", given, {"sep", "maxsplit"});
  const std::int64_t most = bound.whole_or(1, -1);
  run.charge(self.bytes().size());
  const Held parts = run.hold(self.bytes().size() / 2 * sizeof(std::string));
  if (!bound.has_value(0))
    return texts(run, split_space(self.bytes(), most, from_right), self.safe());
  if (bound.text(0).empty()) throw Fault("str.split: the separator is empty");
  run.charge(count_of(self.bytes(), bound.text(0)) * sizeof(std::string));
  return texts(run, split_at(self.bytes(), bound.text(0), most, from_right), self.safe());
}

Value splitlines(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.splitlines", given, {"keepends"});
  const Held parts = run.hold(self.bytes().size() * sizeof(std::string));
  return texts(run, split_lines(self.bytes(), bound.flag(0, false)), self.safe());
}

template <bool from_right>
Value partition(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.partition", given, {"sep"}, 1);
  const std::string &text = self.bytes(), &separator = bound.text(0);
  if (separator.empty()) throw Fault("str.partition: the separator is empty");
  const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<std::string> parts = {text, "", ""};
  if (at != std::string::npos)
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  else if (from_right)
    std::swap(parts[0], parts[2]);
  std::vector<Value> out;
  out.reserve(parts.size());
  for (std::string& part : parts) out.push_back(run.text(std::move(part), self.safe()));
  return run.sequence(Shape::tuple, std::move(out));
}

// The part of a text between two positions, as the bounds of str.find() and its like mean them.
struct Part {
  std::string_view text;
  std::int64_t begin = 0;
  bool valid = true;  // the bounds are not crossed
};
Part part_of(std::string_view text, const Bound& bound) {
  const auto n = static_cast<std::int64_t>(count_points(text));
  const auto clipped = [n](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + n : at, 0,
                                    std::numeric_limits<std::int64_t>::max());
  };
  const std::int64_t begin = clipped(bound.whole_or(1, 0)),
                     end = std::min(clipped(bound.whole_or(2, n)), n);
  if (begin > end) return {.text = {}, .begin = begin, .valid = false};
  const std::size_t from = byte_at(text, static_cast<std::size_t>(begin));
  return {
      .text = text.substr(from, byte_at(text.substr(from), static_cast<std::size_t>(end - begin))),
      .begin = begin};
}

template <bool at_start>
Value starts_or_ends(Interpreter&, const Value& self, const Arguments& given) {
  const Bound bound(at_start ? "str.startswith" : "str.endswith", given, {"part", "start", "end"},
                    1);
  const Part part = part_of(self.bytes(), bound);
  const auto fits = [&](const std::string& wanted) {
    return part.valid && (at_start ? part.text.starts_with(wanted) : part.text.ends_with(wanted));
  };
  if (!bound.value(0).is(Shape::tuple)) return Value::boolean(fits(bound.text(0)));
  bool any = false;
  for (const Value& wanted : bound.value(0).items()) {
    if (!wanted.is(Kind::text)) throw Fault("str.startswith: expected texts");
    any = any || fits(wanted.bytes());
  }
  return Value::boolean(any);
}

template <bool from_right, bool must>
Value find_method(Interpreter&, const Value& self, const Arguments& given) {
  const Bound bound("str.find", given, {"part", "start", "end"}, 1);
  const Part part = part_of(self.bytes(), bound);
  const std::size_t at = !part.valid  ? std::string::npos
                         : from_right ? part.text.rfind(bound.text(0))
                                      : part.text.find(bound.text(0));
  if (at != std::string::npos)
    return Value::integer(part.begin +
                          static_cast<std::int64_t>(count_points(part.text.substr(0, at))));
  if (must) throw Fault("str.index: the part is not in the text");
  return Value::integer(-1);
}

Value count_method(Interpreter&, const Value& self, const Arguments& given) {
  const Bound bound("str.count", given, {"part", "start", "end"}, 1);
  const Part part = part_of(self.bytes(), bound);
  return Value::integer(part.valid ? static_cast<std::int64_t>(count_of(part.text, bound.text(0)))
                                   : 0);
}

Value replace_method(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.replace", given, {"old", "new", "count"}, 2);
  const std::string to =
      self.safe() && !bound.value(1).safe() ? html_escaped(bound.text(1)) : bound.text(1);
  run.charge(self.bytes().size() + count_of(self.bytes(), bound.text(0)) * to.size());
  return run.text(replaced(self.bytes(), bound.text(0), to, bound.whole_or(2, -1)), self.safe());
}

Value join_method(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.join", given, {"iterable"}, 1);
  if (self.safe()) throw Fault("str.join with a text that is marked safe is not supported");
  std::string out;
  bool first = true;
  for (const Value& item : run.iterate(bound.value(0))) {
    if (!item.is(Kind::text))
      throw Fault(std::string("str.join: found a '") + type_name(item) + "' among the texts");
    run.charge(item.bytes().size() + self.bytes().size());
    const Held held = run.hold(out.size() + item.bytes().size() + self.bytes().size());
    if (!first) out += self.bytes();
    out += item.bytes();
    first = false;
  }
  return run.text(std::move(out));
}

Value format_method(Interpreter& run, const Value& self, const Arguments& given) {
  if (self.safe()) throw Fault("str.format of a text that is marked safe is not supported");
  return run.text(format_braces(run, self.bytes(), given));
}

template <bool at_start>
Value remove_method(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.removeprefix", given, {"part"}, 1);
  std::string_view text = self.bytes();
  if (at_start && text.starts_with(bound.text(0))) text.remove_prefix(bound.text(0).size());
  if (!at_start && text.ends_with(bound.text(0))) text.remove_suffix(bound.text(0).size());
  return run.text(std::string(text), self.safe());
}

enum class Just { left, right, center };
template <Just just>
Value justify(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.center", given, {"width", "fillchar"}, 1);
  const std::string fill = bound.has(1) ? bound.text(1) : " ";
  if (count_points(fill) != 1) throw Fault("str.center: the fill is one character");
  const auto n = static_cast<std::int64_t>(count_points(self.bytes()));
  const std::int64_t width = bound.whole(0), missing = std::max<std::int64_t>(width - n, 0);
  run.charge(static_cast<std::uint64_t>(missing) * fill.size());
  // Python puts the odd one to the left when the width is odd.
  const std::int64_t left = just == Just::left    ? 0
                            : just == Just::right ? missing
                                                  : missing / 2 + (missing & width & 1);
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += self.bytes();
  for (std::int64_t i = left; i < missing; ++i) out += fill;
  return run.text(std::move(out), self.safe());
}

Value zfill(Interpreter& run, const Value& self, const Arguments& given) {
  const Bound bound("str.zfill", given, {"width"}, 1);
  const std::string& text = self.bytes();
  const std::size_t sign = text.starts_with('+') || text.starts_with('-') ? 1 : 0;
  const std::int64_t missing =
      std::max<std::int64_t>(bound.whole(0) - static_cast<std::int64_t>(count_points(text)), 0);
  run.charge(static_cast<std::uint64_t>(missing));
  return run.text(text.substr(0, sign) + std::string(static_cast<std::size_t>(missing), '0') +
                  text.substr(sign));
}

constexpr TextMethod kTextMethods[] = {
    {"capitalize", changed<capitalized>},
    {"center", justify<Just::center>},
    {"count", count_method},
    {"endswith", starts_or_ends<false>},
    {"find", find_method<false, false>},
    {"format", format_method},
    {"index", find_method<false, true>},
    {"isalnum", asked<all_are<is_alnum>>},
    {"isalpha", asked<all_are<is_letter>>},
    {"isascii", asked<is_ascii>},
    {"isdecimal", asked<all_are<is_decimal>>},
    {"isdigit", asked<all_are<is_digit>>},
    {"islower", asked<all_lower>},
    {"isnumeric", asked<all_are<is_numeric>>},
    {"isspace", asked<all_are<is_space>>},
    {"isupper", asked<all_upper>},
    {"join", join_method},
    {"ljust", justify<Just::left>},
    {"lower", changed<to_lower>},
    {"lstrip", strip_method<Side::left>},
    {"partition", partition<false>},
    {"removeprefix", remove_method<true>},
    {"removesuffix", remove_method<false>},
    {"replace", replace_method},
    {"rfind", find_method<true, false>},
    {"rindex", find_method<true, true>},
    {"rjust", justify<Just::right>},
    {"rpartition", partition<true>},
    {"rsplit", split_method<true>},
    {"rstrip", strip_method<Side::right>},
    {"split", split_method<false>},
    {"splitlines", splitlines},
    {"startswith", starts_or_ends<true>},
    {"strip", strip_method<Side::both>},
    {"swapcase", changed<swapped_case>},
    {"title", changed<title_by_letter>},
    {"upper", changed<to_upper>},
    {"zfill", zfill},
    {"casefold", nullptr},
    {"encode", nullptr},
    {"expandtabs", nullptr},
    {"format_map", nullptr},
    {"isidentifier", nullptr},
    {"isprintable", nullptr},
    {"istitle", nullptr},
    {"maketrans", nullptr},
    {"translate", nullptr},
};

const TextMethod* find_text_method(std::string_view name) {
  for (const TextMethod& method : kTextMethods)
    if (name == method.name) return &method;
  return nullptr;
}

}  // namespace

bool is_text_method(std::string_view name) { return find_text_method(name) != nullptr; }

Value call_text_method(Interpreter& run, const Value& self, const std::string& name,
                       const Arguments& arguments) {
  const TextMethod* method = find_text_method(name);
  if (method == nullptr || method->call == nullptr)
    throw Fault("the method str." + name + " is not supported");
  run.charge(self.bytes().size());
  return method->call(run, self, arguments);
}

}  // namespace espalier::text::jinja
