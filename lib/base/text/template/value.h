// SPDX-License-Identifier: Apache-2.0
// Values of the template language, with the behaviour of Python's: what is true, what is equal, how
// a value prints. Everything but a namespace is immutable, as in jinja2's immutable sandbox.
//
// A container knows its depth and its weight (the size of the tree below it), and both are bounded.
// So no walk over a value recurses deeply, and a walk's cost is known before it begins.
#pragma once
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/template/memory_meter.h"

namespace espalier::text::jinja {

// Why a template cannot go on. The line is added where it is caught.
struct Fault : std::runtime_error {
  explicit Fault(const std::string& message, bool by_template = false)
      : std::runtime_error(message), raised(by_template) {}
  bool raised;  // the template itself called raise_exception
};

struct Text;
struct Sequence;
struct Dict;
struct Namespace;
struct Loop;
struct Callable;
struct None {
  bool operator==(const None&) const = default;
};
// The order of Value::Storage.
enum class Kind : std::uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  text,
  sequence,
  dict,
  name_space,
  loop,
  callable
};
// Python's types that hold values in a row.
enum class Shape : std::uint8_t { list, tuple, range, keys, values, items, generator };

class Value {
 public:
  using Entries = std::vector<std::pair<Value, Value>>;

  Value() = default;  // undefined, for no stated reason
  // `why` is the message when it is used, such as "'x' is undefined".
  static Value undefined(std::string why);
  static Value none() { return Value(None{}); }
  static Value boolean(bool value) { return Value(value); }
  static Value integer(std::int64_t value) { return Value(value); }
  static Value real(double value) { return Value(value); }
  // safe: jinja2's Markup, which escapes what is added to it. held: what it takes of a meter.
  static Value text(std::string bytes, bool safe = false, Held held = {});
  static Value sequence(Shape shape, std::vector<Value> items, Held held = {});
  static Value list(std::vector<Value> items) { return sequence(Shape::list, std::move(items)); }
  // Later entries of an equal key replace earlier ones. Fault when a key cannot be one.
  static Value dict(Entries entries, Held held = {});
  static Value name_space(Namespace* value) { return Value(value); }
  static Value loop(std::shared_ptr<Loop> value);
  static Value callable(Callable value);

  Kind kind() const { return static_cast<Kind>(storage_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is(Shape shape) const;
  bool is_number() const { return kind() >= Kind::boolean && kind() <= Kind::real; }
  // boolean or integer
  bool is_whole() const { return is(Kind::boolean) || is(Kind::integer); }

  // Each only for its own kind.
  const std::string& why() const;
  bool boolean() const { return std::get<bool>(storage_); }
  std::int64_t whole() const;  // boolean or integer
  double number() const;       // any number
  const std::string& bytes() const;
  bool safe() const;
  const Sequence& sequence() const;
  const std::vector<Value>& items() const;
  const Entries& entries() const;
  Namespace* name_space() const { return std::get<Namespace*>(storage_); }
  const std::shared_ptr<Loop>& loop() const { return std::get<std::shared_ptr<Loop>>(storage_); }
  const Callable& callable() const;

  // 1 for a scalar. Text counts its bytes.
  std::uint64_t weight() const;
  int depth() const;
  // The same object, as Python's "is".
  bool same_as(const Value& other) const;

 private:
  using Storage = std::variant<std::shared_ptr<const std::string>, None, bool, std::int64_t, double,
                               std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
                               std::shared_ptr<const Dict>, Namespace*, std::shared_ptr<Loop>,
                               std::shared_ptr<const Callable>>;
  template <typename T>
  explicit Value(T value) : storage_(std::move(value)) {}
  Storage storage_;
};

struct Text {
  std::string bytes;  // valid UTF-8
  bool safe = false;
  Held held = {};
};
struct Sequence {
  Shape shape = Shape::list;
  std::vector<Value> items = {};
  int depth = 1;
  std::uint64_t weight = 1;
  mutable std::size_t used = 0;  // generator: the items that were taken
  Held held = {};
};
struct Dict {
  Value::Entries entries = {};
  int depth = 1;
  std::uint64_t weight = 1;
  Held held = {};
};
// Lives as long as the rendering.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};
// What `loop` is inside a for loop.
struct Loop {
  std::vector<Value> items;
  Held held = {};
  std::size_t index = 0;
  int nesting = 1;
  bool compared = false;  // changed() was called
  std::vector<Value> last_compared;
};

struct Statement;
struct Scope;
struct Callable {
  enum class Kind : std::uint8_t { function, method, macro } kind = Kind::function;
  std::string name;
  Value self;                        // method
  const Statement* macro = nullptr;  // the macro, or the call block that is `caller`
  std::weak_ptr<Scope> scope;        // macro: where it was defined
};

// Python's name, such as "NoneType".
const char* type_name(const Value& value);
bool truth(const Value& value);
bool equal(const Value& a, const Value& b);
// Less than 0, 0, more than 0. Fault where Python has no order.
int order(const Value& a, const Value& b);
// The value at an equal key, or nullptr.
const Value* find(const Value::Entries& entries, const Value& key);
const Value* find(const Value::Entries& entries, std::string_view key);
bool can_be_key(const Value& value);

// What {{ value }} writes, and Python's repr(). Fault for values whose text is an address.
std::string str(const Value& value);
std::string repr(const Value& value);
std::string real_text(double value);
// Adds `value` as Python writes a string inside a container, with its quotes.
void append_quoted(std::string& out, std::string_view text);

}  // namespace espalier::text::jinja
