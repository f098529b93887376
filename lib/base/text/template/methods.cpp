// SPDX-License-Identifier: Apache-2.0
// Methods of lists, dicts and loops, and which methods a value has.
#include <algorithm>

#include "text/template/builtins.h"

namespace espalier::text::jinja {
namespace {

using Names = std::span<const std::string_view>;

bool is_one_of(std::string_view name, Names names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::string_view kDict[] = {"copy", "fromkeys", "get", "items", "keys", "values"};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kList[] = {"copy", "count", "index"};
constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};
constexpr std::string_view kTuple[] = {"count", "index"};

Value dict_method(Interpreter& run, const Value& self, const std::string& name,
                  const Arguments& given) {
  const std::string function = "dict." + name;
  if (name == "get") {
    const Bound bound(function, given, {"key", "default"}, 1);
    if (!can_be_key(bound.value(0)))
      throw Fault(std::string("a '") + type_name(bound.value(0)) + "' cannot be a key");
    run.charge(self.entries().size());
    const Value* found = find(self.entries(), bound.value(0));
    return found != nullptr ? *found : bound.value_or(1, Value::none());
  }
  const Bound none(function, given, {});
  if (name == "copy") return self;
  if (name == "fromkeys") throw Fault("dict.fromkeys is not supported");
  std::vector<Value> out;
  for (const auto& [key, value] : self.entries())
    out.push_back(name == "keys"     ? key
                  : name == "values" ? value
                                     : run.sequence(Shape::tuple, {key, value}));
  return run.sequence(name == "keys"     ? Shape::keys
                      : name == "values" ? Shape::values
                                         : Shape::items,
                      std::move(out));
}

Value row_method(Interpreter& run, const Value& self, const std::string& name,
                 const Arguments& given) {
  const std::string function = std::string(type_name(self)) + "." + name;
  if (name == "copy") {
    const Bound none(function, given, {});
    return self;
  }
  const Bound bound(function, given, {"value", "start", "stop"}, 1);
  const std::vector<Value>& items = self.items();
  const auto is_it = [&](const Value& item) { return run.are_equal(item, bound.value(0)); };
  if (name == "count") {
    if (bound.has(1)) throw Fault(function + " takes one argument");
    return Value::integer(std::count_if(items.begin(), items.end(), is_it));
  }
  if (bound.has(1)) throw Fault(function + " with bounds is not supported");
  const auto found = std::find_if(items.begin(), items.end(), is_it);
  if (found == items.end()) throw Fault(function + ": the value is not there");
  return Value::integer(found - items.begin());
}

Value loop_method(Interpreter& run, const Value& self, const std::string& name,
                  const Arguments& given) {
  Loop& loop = *self.loop();
  if (!given.named.empty()) throw Fault("loop." + name + " takes no arguments by name");
  if (name == "cycle") {
    if (given.positional.empty()) throw Fault("loop.cycle needs values");
    return given.positional[loop.index % given.positional.size()];
  }
  for (const Value& value : given.positional)
    if (value.depth() > 0)
      throw Fault("loop.changed of anything but texts and numbers is not supported");
  const bool same =
      loop.compared && loop.last_compared.size() == given.positional.size() &&
      std::equal(given.positional.begin(), given.positional.end(), loop.last_compared.begin(),
                 [&](const Value& a, const Value& b) { return run.are_equal(a, b); });
  loop.compared = true;
  loop.last_compared = given.positional;
  return Value::boolean(!same);
}

}  // namespace

Access method_access(const Value& self, std::string_view name) {
  const auto among = [&](Names allowed, Names forbidden) {
    return is_one_of(name, allowed)     ? Access::allowed
           : is_one_of(name, forbidden) ? Access::forbidden
                                        : Access::none;
  };
  if (self.is(Kind::dict)) return among(kDict, kDictChanges);
  if (self.is(Shape::list)) return among(kList, kListChanges);
  if (self.is(Shape::tuple) || self.is(Shape::range)) return among(kTuple, {});
  if (self.is(Kind::text)) return is_text_method(name) ? Access::allowed : Access::none;
  return Access::none;
}

Value call_method(Interpreter& run, const Value& self, const std::string& name,
                  const Arguments& arguments) {
  if (self.is(Kind::dict)) return dict_method(run, self, name, arguments);
  if (self.is(Kind::sequence)) return row_method(run, self, name, arguments);
  if (self.is(Kind::loop)) return loop_method(run, self, name, arguments);
  return call_text_method(run, self, name, arguments);
}

}  // namespace espalier::text::jinja
