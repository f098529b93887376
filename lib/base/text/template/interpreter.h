// SPDX-License-Identifier: Apache-2.0
// Runs a program. One interpreter serves one rendering.
//
// Every operation is counted against Options, before it allocates. So a template from a hostile
// file ends in a Fault, never in an endless loop or without memory.
#pragma once
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/arguments.h"
#include "text/template/syntax.h"
#include "text/template/template.h"
#include "text/template/value.h"

namespace espalier::text::jinja {

// The name under which a block's text reaches its filter. No template can spell it.
inline constexpr const char* kFiltered = "<block>";

struct Scope {
  std::vector<std::pair<std::string, Value>> values;
  std::shared_ptr<Scope> parent;
};

class Interpreter {
 public:
  Interpreter(const Program& program, const Variables& variables, const Options& options)
      : program_(program), variables_(variables), options_(options) {}
  // Throws Fault; line() is where.
  std::string run();
  int line() const { return line_; }

  // ---- for the builtins ----
  // Counts work: bytes that are written or compared.
  void charge(std::uint64_t bytes);
  // Counts memory, for as long as the result lives. Fault when there is too much.
  Held hold(std::uint64_t bytes);
  Value text(std::string bytes, bool safe = false);
  Value list(std::vector<Value> items) { return sequence(Shape::list, std::move(items)); }
  Value sequence(Shape shape, std::vector<Value> items);
  Value dict(Value::Entries entries);
  // str() and repr(), counted.
  std::string str_of(const Value& value);
  bool are_equal(const Value& a, const Value& b);
  int compare(const Value& a, const Value& b);
  bool contains(const Value& container, const Value& item);
  // What a for loop goes through. Uses up a generator. Fault when it is nothing of the kind.
  std::vector<Value> iterate(const Value& value);
  // len(). Fault where Python has none.
  std::int64_t length(const Value& value);
  // value.name and value[key], with jinja2's fallbacks. Undefined when there is none.
  Value attribute(const Value& value, const std::string& name);
  Value item(const Value& value, const Value& key);
  Value add(const Value& a, const Value& b);
  Value multiply(const Value& a, const Value& b);
  Value call(const Value& callee, const Arguments& arguments);
  Namespace* new_namespace();
  const std::tm& now() const { return options_.now; }

 private:
  void step();
  enum class Flow : std::uint8_t { normal, broken, continued };
  class Deeper;  // bounds the recursion
  class Inner;   // a scope for as long as it lives

  // ---- expressions ----
  Value evaluate(const Expression& node);
  Value evaluate_operation(const Expression& node);
  Value name(const Expression& node);
  Value slice(const Expression& node);
  Value compare_chain(const Expression& node);
  bool compare_pair(Comparison comparison, const Value& a, const Value& b);
  Value concatenate(const Expression& node);
  Value literal(const Expression& node);
  Value arithmetic(Op op, const Value& a, const Value& b);
  Value negate(const Value& value);
  Arguments arguments(const Expression& node);
  void add_keyword(Arguments& out, const std::string& name, const Value& value);
  Value call_macro(const Callable& callable, const Arguments& arguments);
  void bind_parameters(const Statement& macro, Arguments arguments);
  Value get(const std::string& name) const;
  const Value* find_variable(const std::string& name) const;

  // ---- statements ----
  using Body = std::vector<const Statement*>;
  Flow run(const Body& body);
  Flow run(const Statement& node);
  Flow run_condition(const Statement& node);
  Flow run_loop(const Statement& node);
  Flow run_set_block(const Statement& node);
  Flow run_filter_block(const Statement& node);
  void run_call_block(const Statement& node);
  std::vector<Value> loop_items(const Statement& node);
  // Runs in a scope of its own, and gives what it writes.
  Flow capture(const Body& body, std::string& written);
  void write(std::string_view text);
  void assign(const Target& target, const Value& value);
  void set(const std::string& name, Value value);

  const Program& program_;
  const Variables& variables_;
  const Options& options_;
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  int line_ = 0, level_ = 0;
  std::uint64_t steps_ = 0, work_ = 0;
  Meter memory_ = std::make_shared<std::uint64_t>(0);
};

}  // namespace espalier::text::jinja
