// SPDX-License-Identifier: Apache-2.0
// Access to JSON from untrusted files, which format/json_input.h parses. Errors say what was
// expected and where.
#pragma once
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace espalier::text {

using Json = nlohmann::json;

// A value and a description of its place ("dir/tokenizer.json: model.vocab"). Cheap to copy. The
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
  bool flag(const char* key, bool absent) const;  // returns `absent` when the key is absent or null
  std::string text_or(const char* key, const std::string& absent) const;

 private:
  [[noreturn]] void wrong(const char* expected) const;
  const Json* value_;
  std::string where_;
};

// The JSON of a file that may be absent: an empty text is an empty object.
Json parse_if_present(const std::string& text, const std::string& path);

}  // namespace espalier::text
