// SPDX-License-Identifier: Apache-2.0
// Typed access to GGUF metadata, and GGUF values from C++ types. Errors for absent keys and wrong
// types name path and key.
#include <limits>

#include "core/error.h"
#include "format/gguf_types.h"

namespace espalier::format {
namespace {

using core::ErrorKind;

[[noreturn]] void wrong_type(const GgufHeader& header, std::string_view key, const GgufValue& value,
                             const char* wanted) {
  core::fail(ErrorKind::input, header.path(), ": metadata key ", key, " is of type ",
             type_name(value.type), ", expected ", wanted);
}

template <typename T>
T required(const GgufHeader& header, std::string_view key, std::optional<T> value) {
  ESP_CHECK(value.has_value(), input, header.path(), ": metadata key ", key, " is missing");
  return *std::move(value);
}

template <typename T>
GgufValue array_of(GgufType type, const std::vector<T>& values) {
  auto array = std::make_shared<GgufArray>();
  array->type = type;
  array->numbers.assign(values.begin(), values.end());
  return {GgufType::array, std::shared_ptr<const GgufArray>(std::move(array))};
}

}  // namespace

std::optional<std::int64_t> GgufHeader::optional_integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* i = std::get_if<std::int64_t>(&value->value)) return *i;
  const auto* u = std::get_if<std::uint64_t>(&value->value);
  if (u == nullptr) wrong_type(*this, key, *value, "an integer");
  ESP_CHECK(*u <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()), input,
            path_, ": metadata key ", key, " is ", *u, ", beyond 2^63 - 1");
  return static_cast<std::int64_t>(*u);
}
std::int64_t GgufHeader::integer(std::string_view key) const {
  return required(*this, key, optional_integer(key));
}

std::optional<double> GgufHeader::optional_real(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* d = std::get_if<double>(&value->value)) return *d;
  if (const auto* i = std::get_if<std::int64_t>(&value->value)) return static_cast<double>(*i);
  const auto* u = std::get_if<std::uint64_t>(&value->value);
  if (u == nullptr) wrong_type(*this, key, *value, "a number");
  return static_cast<double>(*u);
}
double GgufHeader::real(std::string_view key) const {
  return required(*this, key, optional_real(key));
}

std::optional<std::string> GgufHeader::optional_text(std::string_view key) const {
  if (find(key) == nullptr) return std::nullopt;
  return text(key);
}
const std::string& GgufHeader::text(std::string_view key) const {
  const GgufValue* value = find(key);
  ESP_CHECK(value != nullptr, input, path_, ": metadata key ", key, " is missing");
  const auto* s = std::get_if<std::string>(&value->value);
  if (s == nullptr) wrong_type(*this, key, *value, "a string");
  return *s;
}

std::optional<bool> GgufHeader::optional_boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* b = std::get_if<bool>(&value->value);
  if (b == nullptr) wrong_type(*this, key, *value, "a bool");
  return *b;
}

const GgufArray* GgufHeader::optional_array(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  const auto* array = std::get_if<std::shared_ptr<const GgufArray>>(&value->value);
  if (array == nullptr) wrong_type(*this, key, *value, "an array");
  return array->get();
}
const GgufArray& GgufHeader::array(std::string_view key) const {
  const GgufArray* found = optional_array(key);
  ESP_CHECK(found != nullptr, input, path_, ": metadata key ", key, " is missing");
  return *found;
}

GgufValue GgufValue::u32(std::uint32_t v) { return {GgufType::u32, std::uint64_t{v}}; }
GgufValue GgufValue::i32(std::int32_t v) { return {GgufType::i32, std::int64_t{v}}; }
GgufValue GgufValue::u64(std::uint64_t v) { return {GgufType::u64, v}; }
GgufValue GgufValue::f32(float v) { return {GgufType::f32, static_cast<double>(v)}; }
GgufValue GgufValue::boolean(bool v) { return {GgufType::boolean, v}; }
GgufValue GgufValue::string(std::string v) { return {GgufType::string, std::move(v)}; }
GgufValue GgufValue::strings(std::vector<std::string> v) {
  auto array = std::make_shared<GgufArray>();
  array->type = GgufType::string;
  array->strings = std::move(v);
  return {GgufType::array, std::shared_ptr<const GgufArray>(std::move(array))};
}
GgufValue GgufValue::i32s(const std::vector<std::int32_t>& v) { return array_of(GgufType::i32, v); }
GgufValue GgufValue::f32s(const std::vector<float>& v) { return array_of(GgufType::f32, v); }
GgufValue GgufValue::bools(const std::vector<bool>& v) {
  return array_of(GgufType::boolean, std::vector<int>(v.begin(), v.end()));
}

}  // namespace espalier::format
