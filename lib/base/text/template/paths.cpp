// SPDX-License-Identifier: Apache-2.0
// A part of digits is a position.
#include "text/template/paths.h"

#include "text/template/python_number.h"
#include "text/template/python_text.h"

namespace espalier::text::jinja {

Path::Path(const Value& attribute) {
  if (attribute.is(Kind::none)) return;
  if (!attribute.is(Kind::text)) {
    keys_.push_back(attribute);
    return;
  }
  for (const std::string& part : split_at(attribute.bytes(), ".", -1, false)) {
    const std::optional<std::int64_t> position =
        all_of(part, [](char32_t c) { return c >= U'0' && c <= U'9'; }) ? parse_whole(part)
                                                                        : std::nullopt;
    keys_.push_back(position ? Value::integer(*position) : Value::text(part));
  }
}

Value Path::follow(Interpreter& run, Value value, const std::optional<Value>& fallback) const {
  for (const Value& key : keys_) {
    value = run.item(value, key);
    if (fallback && value.is(Kind::undefined)) value = *fallback;
  }
  return value;
}

Value without_case(Interpreter& run, const Value& value) {
  return value.is(Kind::text) ? run.text(to_lower(value.bytes())) : value;
}

}  // namespace espalier::text::jinja
