// SPDX-License-Identifier: Apache-2.0
// The `attribute` argument of filters: "a.b.0" leads from a value to one inside it.
#pragma once
#include <optional>
#include <vector>

#include "text/template/interpreter.h"
#include "text/template/value.h"

namespace espalier::text::jinja {

class Path {
 public:
  // A text, a number, or none for the value itself.
  explicit Path(const Value& attribute);
  // fallback: stands for what is undefined on the way.
  Value follow(Interpreter& run, Value value,
               const std::optional<Value>& fallback = std::nullopt) const;

 private:
  std::vector<Value> keys_;
};

// Texts in lower case, other values as they are.
Value without_case(Interpreter& run, const Value& value);

}  // namespace espalier::text::jinja
