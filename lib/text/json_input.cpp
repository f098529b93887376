// Bounded parsing and typed access.
#include "text/json_input.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::text {
namespace {

constexpr int kMaxDepth = 64;

std::int64_t line_of(const std::string& text, std::size_t byte) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size())), '\n');
}

// Brackets outside strings. Malformed text is left to the parser.
void check_depth(const std::string& text, const std::string& path) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ESP_CHECK(++depth <= kMaxDepth, input, path, ":", line_of(text, i), ": more than ", kMaxDepth, " levels of nesting at byte ", i);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

}  // namespace

Json parse_json(const std::string& text, const std::string& path) {
  check_depth(text, path);
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    core::fail(core::ErrorKind::input, path, ":", line_of(text, error.byte), ": not JSON at byte ", error.byte, " (", error.what(), ")");
  } catch (const Json::exception& error) {
    core::fail(core::ErrorKind::input, path, ": not JSON (", error.what(), ")");
  }
}

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
  if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    core::fail(core::ErrorKind::input, where_, " is ", value_->get<std::uint64_t>(), ", which is too large");
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

bool JsonPlace::flag(const char* key, bool absent) const { return has(key) ? at(key).boolean() : absent; }

std::string JsonPlace::text_or(const char* key, const std::string& absent) const { return has(key) ? at(key).text() : absent; }

}  // namespace espalier::text
