// SPDX-License-Identifier: Apache-2.0
// Described options as JSON.
#include "options/json.h"

namespace espalier::options {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json json_of(const std::optional<T>* v) {
  return *v ? Json(**v) : Json(nullptr);
}
Json json_of(const Named& v) { return v.get(); }
template <typename T>
Json json_of(const T* v) {
  return *v;
}

}  // namespace

Json json_of(const List& list) {
  Json out = Json::object();
  for (const Option& option : list)
    if (option.decides)
      out[option.name] = std::visit([](const auto& v) { return json_of(v); }, option.value);
  return out;
}

}  // namespace espalier::options
