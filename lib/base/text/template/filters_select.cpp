// SPDX-License-Identifier: Apache-2.0
// Filters that apply a test or another filter to every item: map, select, reject and their forms
// for attributes.
#include <algorithm>

#include "text/template/builtins.h"
#include "text/template/paths.h"

namespace espalier::text::jinja {
namespace {

Value map_by_attribute(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("map", given, {"attribute", "default"}, 1);
  const Path path(bound.value(0));
  std::optional<Value> fallback;
  if (bound.has_value(1)) fallback = bound.value(1);
  std::vector<Value> out;
  for (const Value& item : run.iterate(value)) out.push_back(path.follow(run, item, fallback));
  return run.sequence(Shape::generator, std::move(out));
}

Value map_filter(Interpreter& run, const Value& value, const Arguments& given) {
  if (!truth(value)) return run.sequence(Shape::generator, {});
  const bool by_attribute =
      given.positional.empty() && !given.named.empty() &&
      std::any_of(given.named.begin(), given.named.end(),
                  [](const auto& argument) { return argument.first == "attribute"; });
  if (by_attribute) return map_by_attribute(run, value, given);
  if (given.positional.empty()) throw Fault("map needs the name of a filter, or an attribute");
  if (!given.positional.front().is(Kind::text)) throw Fault("map: the name of a filter is a text");
  Arguments rest = given;
  rest.positional.erase(rest.positional.begin());
  std::vector<Value> out;
  for (const Value& item : run.iterate(value))
    out.push_back(apply_filter(run, given.positional.front().bytes(), item, rest));
  return run.sequence(Shape::generator, std::move(out));
}

Value choose(Interpreter& run, const Value& value, const Arguments& given, bool by_attribute,
             bool wanted) {
  if (!truth(value)) return run.sequence(Shape::generator, {});
  const std::size_t first = by_attribute ? 1 : 0;
  if (given.positional.size() < first) throw Fault("a filter needs the name of an attribute");
  const Path path(by_attribute ? given.positional.front() : Value::none());
  // Without a test, what is true passes.
  const bool tested = given.positional.size() > first;
  if (tested && !given.positional[first].is(Kind::text))
    throw Fault("the name of a test is a text");
  Arguments rest{.positional = {}, .named = given.named};
  for (std::size_t i = first + 1; i < given.positional.size(); ++i)
    rest.positional.push_back(given.positional[i]);
  std::vector<Value> out;
  for (Value& item : run.iterate(value)) {
    const Value found = path.follow(run, item);
    const bool passes =
        tested ? apply_test(run, given.positional[first].bytes(), found, rest) : truth(found);
    if (passes == wanted) out.push_back(std::move(item));
  }
  return run.sequence(Shape::generator, std::move(out));
}

Value select(Interpreter& run, const Value& value, const Arguments& given) {
  return choose(run, value, given, false, true);
}
Value reject(Interpreter& run, const Value& value, const Arguments& given) {
  return choose(run, value, given, false, false);
}
Value selectattr(Interpreter& run, const Value& value, const Arguments& given) {
  return choose(run, value, given, true, true);
}
Value rejectattr(Interpreter& run, const Value& value, const Arguments& given) {
  return choose(run, value, given, true, false);
}

constexpr Filter kSelectFilters[] = {{"map", map_filter},
                                     {"reject", reject},
                                     {"rejectattr", rejectattr},
                                     {"select", select},
                                     {"selectattr", selectattr}};

}  // namespace

std::span<const Filter> select_filters() { return kSelectFilters; }

}  // namespace espalier::text::jinja
