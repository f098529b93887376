// SPDX-License-Identifier: Apache-2.0
// Access to JSON from files that may be hostile (format/json_input.h parses it), by functions that
// say what they expected and where.
#pragma once
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace espalier::text {

using Json = nlohmann::json;

// A value and the words for where it is ("dir/tokenizer.json: model.vocab"). Cheap to copy; the
// Json must outlive it.
class JsonPlace {
 public:
  JsonPlace(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {}
  const Json& value() const { return *value_; }
  const std::string& where() const { return where_; }

  bool has(const char* key) const;      // present and not null
  JsonPlace at(const char* key) const;  // Error when this is not an object or has no such key
  JsonPlace at(std::size_t index) const;
  std::size_t size() const { return value_->size(); }

  const std::string& text() const;
  bool boolean() const;
  std::int64_t integer() const;
  const Json& object() const;
  const Json& array() const;
  bool flag(const char* key, bool absent) const;  // absent or null: `absent`
  std::string text_or(const char* key, const std::string& absent) const;

 private:
  [[noreturn]] void wrong(const char* expected) const;
  const Json* value_;
  std::string where_;
};

}  // namespace espalier::text
