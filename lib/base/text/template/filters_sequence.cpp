// SPDX-License-Identifier: Apache-2.0
// Filters over several values.
#include <algorithm>

#include "text/template/builtins.h"
#include "text/template/paths.h"
#include "text/template/python_text.h"

namespace espalier::text::jinja {
namespace {

Value length_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("length", given, {});
  return Value::integer(run.length(value));
}

Value first_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("first", given, {});
  if (value.is(Shape::generator)) {
    const Sequence& rest = value.sequence();
    if (rest.used < rest.items.size()) return rest.items[rest.used++];
  } else if (const std::vector<Value> items = run.iterate(value); !items.empty()) {
    return items.front();
  }
  return Value::undefined("there is no first item");
}

Value last_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("last", given, {});
  if (value.is(Shape::generator)) throw Fault("last: a generator cannot be read from its end");
  const std::vector<Value> items = run.iterate(value);
  return items.empty() ? Value::undefined("there is no last item") : items.back();
}

Value list_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("list", given, {});
  return run.list(run.iterate(value));
}

Value join_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("join", given, {"d", "attribute"});
  const std::string between = bound.has(0) ? run.str_of(bound.value(0)) : "";
  const Path path(bound.has_value(1) ? bound.value(1) : Value::none());
  std::string out;
  bool first = true;
  for (const Value& item : run.iterate(value)) {
    const std::string piece = run.str_of(path.follow(run, item));
    run.charge(piece.size() + between.size());
    const Held held = run.hold(out.size() + piece.size() + between.size());
    if (!first) out += between;
    out += piece;
    first = false;
  }
  return run.text(std::move(out));
}

// Sorts by keys, one for each item.
std::vector<Value> sorted_by(Interpreter& run, std::vector<Value> items,
                             const std::vector<Value>& keys, bool reverse) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto less = [&](std::size_t a, std::size_t b) {
    return reverse ? run.compare(keys[b], keys[a]) < 0 : run.compare(keys[a], keys[b]) < 0;
  };
  std::stable_sort(order.begin(), order.end(), less);
  std::vector<Value> out;
  out.reserve(order.size());
  for (const std::size_t i : order) out.push_back(std::move(items[i]));
  return out;
}

Value sort_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("sort", given, {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> items = run.iterate(value);
  std::vector<Path> paths;
  if (bound.has_value(2) && bound.value(2).is(Kind::text)) {
    for (const std::string& part : split_at(bound.text(2), ",", -1, false))
      paths.emplace_back(run.text(part));
  } else {
    paths.emplace_back(bound.value_or(2, Value::none()));
  }
  const bool with_case = bound.flag(1, false);
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    key.reserve(paths.size());
    for (const Path& path : paths)
      key.push_back(with_case ? path.follow(run, item) : without_case(run, path.follow(run, item)));
    keys.push_back(run.list(std::move(key)));
  }
  return run.list(sorted_by(run, std::move(items), keys, bound.flag(0, false)));
}

Value dictsort(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("dictsort", given, {"case_sensitive", "by", "reverse"});
  if (value.is(Kind::undefined)) throw Fault(value.why());
  if (!value.is(Kind::dict))
    throw Fault(std::string("dictsort: a '") + type_name(value) + "' is no dict");
  const std::string by = bound.has(1) ? bound.text(1) : "key";
  if (by != "key" && by != "value") throw Fault("dictsort: by must be key or value");
  std::vector<Value> items, keys;
  for (const auto& [key, held] : value.entries()) {
    const Value& found = by == "key" ? key : held;
    keys.push_back(bound.flag(0, false) ? found : without_case(run, found));
    items.push_back(run.sequence(Shape::tuple, {key, held}));
  }
  return run.list(sorted_by(run, std::move(items), keys, bound.flag(2, false)));
}

Value unique(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("unique", given, {"case_sensitive", "attribute"});
  const Path path(bound.value_or(1, Value::none()));
  std::vector<Value> out, seen;
  for (Value& item : run.iterate(value)) {
    const Value found = path.follow(run, item);
    const Value key = bound.flag(0, false) ? found : without_case(run, found);
    if (!can_be_key(key))
      throw Fault(std::string("unique: a '") + type_name(key) + "' cannot be compared");
    if (std::any_of(seen.begin(), seen.end(),
                    [&](const Value& other) { return run.are_equal(other, key); }))
      continue;
    seen.push_back(key);
    out.push_back(std::move(item));
  }
  return run.sequence(Shape::generator, std::move(out));
}

Value extreme(Interpreter& run, const Value& value, const Arguments& given, int sign) {
  const Bound bound(sign < 0 ? "min" : "max", given, {"case_sensitive", "attribute"});
  const Path path(bound.value_or(1, Value::none()));
  const auto key = [&](const Value& item) {
    const Value found = path.follow(run, item);
    return bound.flag(0, false) ? found : without_case(run, found);
  };
  std::vector<Value> items = run.iterate(value);
  if (items.empty()) return Value::undefined("there is no item");
  std::size_t best = 0;
  Value best_key = key(items[0]);
  for (std::size_t i = 1; i < items.size(); ++i) {
    Value other = key(items[i]);
    if (run.compare(other, best_key) * sign <= 0) continue;
    best = i;
    best_key = std::move(other);
  }
  return items[best];
}
Value min_filter(Interpreter& run, const Value& value, const Arguments& given) {
  return extreme(run, value, given, -1);
}
Value max_filter(Interpreter& run, const Value& value, const Arguments& given) {
  return extreme(run, value, given, 1);
}

Value items_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("items", given, {});
  std::vector<Value> out;
  if (!value.is(Kind::undefined)) {
    if (!value.is(Kind::dict))
      throw Fault(std::string("items: a '") + type_name(value) + "' is no dict");
    for (const auto& [key, held] : value.entries())
      out.push_back(run.sequence(Shape::tuple, {key, held}));
  }
  return run.sequence(Shape::generator, std::move(out));
}

Value reverse(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound none("reverse", given, {});
  std::vector<Value> items = run.iterate(value);
  std::reverse(items.begin(), items.end());
  if (!value.is(Kind::text)) {
    // An iterable that Python cannot reverse is made a list first.
    return run.sequence(value.is(Shape::generator) ? Shape::list : Shape::generator,
                        std::move(items));
  }
  std::string out;
  for (const Value& c : items) out += c.bytes();
  return run.text(std::move(out), value.safe());
}

Value batch(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("batch", given, {"linecount", "fill_with"}, 1);
  const std::int64_t size = bound.whole(0);
  std::vector<Value> out, row;
  for (Value& item : run.iterate(value)) {
    if (static_cast<std::int64_t>(row.size()) == size) {
      out.push_back(run.list(std::move(row)));
      row = {};
    }
    row.push_back(std::move(item));
  }
  if (!row.empty()) {
    const auto n = static_cast<std::int64_t>(row.size());
    if (bound.has_value(1) && n < size) {
      run.charge(static_cast<std::uint64_t>(size - n) * sizeof(Value));
      row.insert(row.end(), static_cast<std::size_t>(size - n), bound.value(1));
    }
    out.push_back(run.list(std::move(row)));
  }
  return run.sequence(Shape::generator, std::move(out));
}

Value sum_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("sum", given, {"attribute", "start"});
  const Path path(bound.value_or(0, Value::none()));
  Value total = bound.value_or(1, Value::integer(0));
  if (total.is(Kind::text)) throw Fault("sum: texts are joined by join");
  for (const Value& item : run.iterate(value)) total = run.add(total, path.follow(run, item));
  return total;
}

Value default_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("default", given, {"default_value", "boolean"});
  if (value.is(Kind::undefined) || (bound.flag(1, false) && !truth(value)))
    return bound.value_or(0, run.text(""));
  return value;
}

Value attr_filter(Interpreter& run, const Value& value, const Arguments& given) {
  const Bound bound("attr", given, {"name"}, 1);
  // Unlike value.name, it does not look into a dict.
  if (value.is(Kind::dict) && method_access(value, bound.text(0)) == Access::none)
    return Value::undefined("'dict' has no attribute '" + bound.text(0) + "'");
  return run.attribute(value, bound.text(0));
}

constexpr Filter kSequenceFilters[] = {{"attr", attr_filter},       {"batch", batch},
                                       {"count", length_filter},    {"d", default_filter},
                                       {"default", default_filter}, {"dictsort", dictsort},
                                       {"first", first_filter},     {"items", items_filter},
                                       {"join", join_filter},       {"last", last_filter},
                                       {"length", length_filter},   {"list", list_filter},
                                       {"max", max_filter},         {"min", min_filter},
                                       {"reverse", reverse},        {"sort", sort_filter},
                                       {"sum", sum_filter},         {"unique", unique}};

}  // namespace

std::span<const Filter> sequence_filters() { return kSequenceFilters; }

}  // namespace espalier::text::jinja
