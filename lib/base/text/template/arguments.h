// SPDX-License-Identifier: Apache-2.0
// The arguments of a call, and their assignment to the names of parameters.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/value.h"

namespace espalier::text::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Arguments by the index of their parameter. Faults name the function.
class Bound {
 public:
  // required: the first parameters, which must be given.
  Bound(std::string_view function, const Arguments& arguments,
        std::initializer_list<const char*> names, std::size_t required = 0);

  bool has(std::size_t i) const { return found_[i] != nullptr; }
  // Given, and not none.
  bool has_value(std::size_t i) const { return has(i) && !found_[i]->is(Kind::none); }
  const Value& value(std::size_t i) const { return *found_[i]; }
  Value value_or(std::size_t i, const Value& fallback) const {
    return has(i) ? value(i) : fallback;
  }
  // Faults for other types.
  const std::string& text(std::size_t i) const;
  std::int64_t whole(std::size_t i) const;
  std::int64_t whole_or(std::size_t i, std::int64_t fallback) const {
    return has_value(i) ? whole(i) : fallback;
  }
  // Any value, as Python's truth.
  bool flag(std::size_t i, bool fallback) const { return has(i) ? truth(value(i)) : fallback; }

 private:
  [[noreturn]] void wrong_type(std::size_t i, const char* expected) const;
  std::string function_;
  std::vector<const char*> names_;
  std::vector<const Value*> found_;
};

}  // namespace espalier::text::jinja
