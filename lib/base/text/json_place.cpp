// SPDX-License-Identifier: Apache-2.0
// Typed access to JSON values, with errors that name the place.
#include "text/json_place.h"

#include "core/error.h"
#include "format/json_input.h"

namespace espalier::text {

void JsonPlace::wrong(const char* expected) const {
  core::fail(core::ErrorKind::input, where_, " is ", value_->type_name(), ", expected ", expected);
}

bool JsonPlace::has(const char* key) const {
  if (!value_->is_object()) wrong("an object");
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonPlace JsonPlace::at(const char* key) const {
  if (!value_->is_object()) wrong("an object");
  const auto found = value_->find(key);
  const std::string where = where_ + (where_.ends_with(':') ? " " : ".") + key;
  ESP_CHECK(found != value_->end(), input, where, " is missing");
  return JsonPlace(*found, where);
}

JsonPlace JsonPlace::at(std::size_t index) const {
  if (!value_->is_array()) wrong("an array");
  const std::string where = where_ + "[" + std::to_string(index) + "]";
  ESP_CHECK(index < value_->size(), input, where, " is missing");
  return JsonPlace((*value_)[index], where);
}

const std::string& JsonPlace::text() const {
  if (!value_->is_string()) wrong("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonPlace::boolean() const {
  if (!value_->is_boolean()) wrong("true or false");
  return value_->get<bool>();
}

std::int64_t JsonPlace::integer() const {
  if (!value_->is_number_integer()) wrong("an integer");
  if (value_->is_number_unsigned() &&
      value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    core::fail(core::ErrorKind::input, where_, " is ", value_->get<std::uint64_t>(),
               ", which is too large");
  }
  return value_->get<std::int64_t>();
}

const Json& JsonPlace::object() const {
  if (!value_->is_object()) wrong("an object");
  return *value_;
}

const Json& JsonPlace::array() const {
  if (!value_->is_array()) wrong("an array");
  return *value_;
}

bool JsonPlace::flag(const char* key, bool absent) const {
  return has(key) ? at(key).boolean() : absent;
}

std::string JsonPlace::text_or(const char* key, const std::string& absent) const {
  return has(key) ? at(key).text() : absent;
}

Json parse_if_present(const std::string& text, const std::string& path) {
  return text.empty() ? Json::object() : format::parse_json<Json>(text, path);
}

}  // namespace espalier::text
