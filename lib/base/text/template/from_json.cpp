// SPDX-License-Identifier: Apache-2.0
// The recursion is bounded by the reader of JSON (format/json_input.h).
#include "text/template/from_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace espalier::text::jinja {
namespace {

using Json = nlohmann::ordered_json;

Value value_of(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return Value::none();
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto value = json.get<std::uint64_t>();
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        throw Fault("the number " + std::to_string(value) + " does not fit into 64 bits");
      return Value::integer(static_cast<std::int64_t>(value));
    }
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string:
      return Value::text(json.get<std::string>());
    case Json::value_t::array: {
      std::vector<Value> items;
      for (const Json& item : json) items.push_back(value_of(item));
      return Value::list(std::move(items));
    }
    case Json::value_t::object: {
      Value::Entries entries;
      for (const auto& [key, item] : json.items())
        entries.emplace_back(Value::text(key), value_of(item));
      return Value::dict(std::move(entries));
    }
    default:
      throw Fault("a value is of no type that JSON has");
  }
}

}  // namespace

Value from_json(const Json& json, const std::string& where) {
  try {
    return value_of(json);
  } catch (const Fault& fault) {
    core::fail(core::ErrorKind::input, where, ": ", fault.what());
  }
}

}  // namespace espalier::text::jinja
