// SPDX-License-Identifier: Apache-2.0
// Construction, truth, equality and order of values.
#include "text/template/value.h"

#include <algorithm>

namespace espalier::text::jinja {
namespace {

constexpr int kMaxDepth = 100;
constexpr std::uint64_t kMaxWeight = std::uint64_t{64} << 20;

void check_size(int depth, std::uint64_t weight) {
  if (depth > kMaxDepth)
    throw Fault("a value nests more than " + std::to_string(kMaxDepth) + " levels deep");
  if (weight > kMaxWeight) throw Fault("a value is larger than 64 MiB");
}

int compared(long double a, long double b) { return a < b ? -1 : a > b ? 1 : 0; }

long double exact(const Value& number) {
  return number.is(Kind::real) ? static_cast<long double>(number.number())
                               : static_cast<long double>(number.whole());
}

bool equal_items(const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), equal);
}

bool equal_dicts(const Value::Entries& a, const Value::Entries& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.begin(), a.end(), [&](const auto& entry) {
    const Value* other = find(b, entry.first);
    return other != nullptr && equal(entry.second, *other);
  });
}

}  // namespace

Value Value::undefined(std::string why) {
  return Value(std::make_shared<const std::string>(std::move(why)));
}

Value Value::text(std::string bytes, bool safe, Held held) {
  check_size(0, bytes.size());
  return Value(std::make_shared<const Text>(Text{std::move(bytes), safe, std::move(held)}));
}

Value Value::sequence(Shape shape, std::vector<Value> items, Held held) {
  Sequence out{.shape = shape, .items = std::move(items), .held = std::move(held)};
  for (const Value& item : out.items) {
    out.depth = std::max(out.depth, item.depth() + 1);
    out.weight += item.weight();
    check_size(out.depth, out.weight);
  }
  return Value(std::make_shared<const Sequence>(std::move(out)));
}

Value Value::dict(Entries entries, Held held) {
  Dict out{.held = std::move(held)};
  out.entries.reserve(entries.size());
  for (auto& entry : entries) {
    const Value& key = entry.first;
    if (!can_be_key(key)) throw Fault(std::string("unhashable type: '") + type_name(key) + "'");
    out.depth = std::max(out.depth, std::max(key.depth(), entry.second.depth()) + 1);
    out.weight += key.weight() + entry.second.weight();
    check_size(out.depth, out.weight);
    const auto same = std::find_if(out.entries.begin(), out.entries.end(),
                                   [&](const auto& other) { return equal(other.first, key); });
    if (same == out.entries.end())
      out.entries.push_back(std::move(entry));
    else
      same->second = std::move(entry.second);
  }
  return Value(std::make_shared<const Dict>(std::move(out)));
}

Value Value::loop(std::shared_ptr<Loop> value) {
  for (const Value& item : value->items)
    value->nesting = std::max(value->nesting, item.depth() + 1);
  check_size(value->nesting, 1);
  return Value(std::move(value));
}

Value Value::callable(Callable value) {
  check_size(value.self.depth() + 1, 1);
  return Value(std::make_shared<const Callable>(std::move(value)));
}

bool Value::is(Shape shape) const { return is(Kind::sequence) && sequence().shape == shape; }

const std::string& Value::why() const {
  static const std::string unknown = "a value is undefined";
  const auto& reason = std::get<std::shared_ptr<const std::string>>(storage_);
  return reason == nullptr ? unknown : *reason;
}

std::int64_t Value::whole() const {
  return is(Kind::boolean) ? (boolean() ? 1 : 0) : std::get<std::int64_t>(storage_);
}

double Value::number() const {
  return is(Kind::real) ? std::get<double>(storage_) : static_cast<double>(whole());
}

const std::string& Value::bytes() const {
  return std::get<std::shared_ptr<const Text>>(storage_)->bytes;
}
bool Value::safe() const {
  return is(Kind::text) && std::get<std::shared_ptr<const Text>>(storage_)->safe;
}
const Sequence& Value::sequence() const {
  return *std::get<std::shared_ptr<const Sequence>>(storage_);
}
const std::vector<Value>& Value::items() const { return sequence().items; }
const Value::Entries& Value::entries() const {
  return std::get<std::shared_ptr<const Dict>>(storage_)->entries;
}
const Callable& Value::callable() const {
  return *std::get<std::shared_ptr<const Callable>>(storage_);
}

std::uint64_t Value::weight() const {
  switch (kind()) {
    case Kind::text:
      return 1 + bytes().size();
    case Kind::sequence:
      return sequence().weight;
    case Kind::dict:
      return std::get<std::shared_ptr<const Dict>>(storage_)->weight;
    default:
      return 1;
  }
}

int Value::depth() const {
  if (is(Kind::sequence)) return sequence().depth;
  if (is(Kind::loop)) return loop()->nesting;
  if (is(Kind::callable)) return callable().self.depth() + 1;
  return is(Kind::dict) ? std::get<std::shared_ptr<const Dict>>(storage_)->depth : 0;
}

bool Value::same_as(const Value& other) const { return storage_ == other.storage_; }

const char* type_name(const Value& value) {
  static constexpr const char* kNames[] = {"Undefined", "NoneType",    "bool", "int",
                                           "float",     "str",         "",     "dict",
                                           "Namespace", "LoopContext", ""};
  static constexpr const char* kShapes[] = {"list",        "tuple",      "range",    "dict_keys",
                                            "dict_values", "dict_items", "generator"};
  if (value.is(Kind::sequence)) return kShapes[static_cast<int>(value.sequence().shape)];
  if (value.is(Kind::callable))
    return value.callable().kind == Callable::Kind::macro    ? "Macro"
           : value.callable().kind == Callable::Kind::method ? "builtin_function_or_method"
                                                             : "function";
  return kNames[static_cast<int>(value.kind())];
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.whole() != 0;
    case Kind::real:
      return value.number() != 0;
    case Kind::text:
      return !value.bytes().empty();
    case Kind::sequence:
      return value.is(Shape::generator) || !value.items().empty();
    case Kind::dict:
      return !value.entries().empty();
    case Kind::loop:
      return !value.loop()->items.empty();
    case Kind::name_space:
    case Kind::callable:
      return true;
  }
  return false;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return exact(a) == exact(b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::text:
      return a.bytes() == b.bytes();
    case Kind::sequence: {
      if (a.same_as(b)) return true;
      const Shape shape = a.sequence().shape;
      const bool by_items = shape == Shape::list || shape == Shape::tuple || shape == Shape::range;
      if (by_items && b.sequence().shape == shape) return equal_items(a.items(), b.items());
      if ((shape == Shape::keys || shape == Shape::items) &&
          (b.is(Shape::keys) || b.is(Shape::items)))
        throw Fault("comparing the keys or items of dicts is not supported");
      return false;
    }
    case Kind::dict:
      return a.same_as(b) || equal_dicts(a.entries(), b.entries());
    case Kind::callable:
      if (a.callable().kind == Callable::Kind::method) {
        return b.callable().kind == Callable::Kind::method &&
               a.callable().name == b.callable().name &&
               a.callable().self.same_as(b.callable().self);
      }
      return a.same_as(b) || (a.callable().kind == Callable::Kind::function &&
                              b.callable().kind == Callable::Kind::function &&
                              a.callable().name == b.callable().name);
    default:
      return a.same_as(b);
  }
}

int order(const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (value->is(Kind::undefined)) throw Fault(value->why());
  if (a.is_number() && b.is_number()) return compared(exact(a), exact(b));
  if (a.is(Kind::text) && b.is(Kind::text)) {
    const int difference = a.bytes().compare(b.bytes());
    return difference < 0 ? -1 : difference > 0 ? 1 : 0;
  }
  if ((a.is(Shape::list) && b.is(Shape::list)) || (a.is(Shape::tuple) && b.is(Shape::tuple))) {
    const std::size_t n = std::min(a.items().size(), b.items().size());
    for (std::size_t i = 0; i < n; ++i)
      if (!equal(a.items()[i], b.items()[i])) return order(a.items()[i], b.items()[i]);
    return compared(static_cast<long double>(a.items().size()),
                    static_cast<long double>(b.items().size()));
  }
  throw Fault(std::string("there is no order between '") + type_name(a) + "' and '" + type_name(b) +
              "'");
}

const Value* find(const Value::Entries& entries, const Value& key) {
  for (const auto& [name, value] : entries)
    if (equal(name, key)) return &value;
  return nullptr;
}

const Value* find(const Value::Entries& entries, std::string_view key) {
  for (const auto& [name, value] : entries)
    if (name.is(Kind::text) && name.bytes() == key) return &value;
  return nullptr;
}

bool can_be_key(const Value& value) {
  if (value.is(Shape::tuple))
    return std::all_of(value.items().begin(), value.items().end(), can_be_key);
  return !value.is(Shape::list) && !value.is(Kind::dict);
}

}  // namespace espalier::text::jinja
