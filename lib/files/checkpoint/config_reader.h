// SPDX-License-Identifier: Apache-2.0
// One JSON object of a config.json: typed keys with bounds. Problems collects everything that is
// wrong. At the end, every key that was never read is refused by name, unless its value is neutral
// (neutral_keys.h).
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/neutral_keys.h"
#include "checkpoint/problems.h"
#include "core/units.h"

namespace espalier::checkpoint {

// Bounds on sizes. They are far above any model. They are low enough that no product of three
// overflows and no list of tensors exhausts memory.
inline constexpr std::int64_t kMaxWidth = std::int64_t{1} << 20, kMaxLayers = 4096,
                              kMaxVocab = std::int64_t{1} << 24;
inline constexpr std::int64_t kMaxPositions = std::int64_t{1} << 40;

class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, Problems& problems, std::string prefix = "")
      : object_(object), problems_(problems), prefix_(std::move(prefix)) {}

  // The value of a key, or nullptr when it is absent or null.
  const nlohmann::json* find(const std::string& key) {
    seen_.insert(key);
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  bool present(const std::string& key) const { return object_.contains(key); }  // true for null
  std::int64_t size_or_zero(const std::string& key, std::int64_t max) {
    const nlohmann::json* value = find(key);
    if (value != nullptr && value->is_number() && *value == 0) return 0;
    return size(key, max, 0);
  }
  std::int64_t size(const std::string& key, std::int64_t max,
                    std::optional<std::int64_t> absent = std::nullopt) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) {
      if (!absent) problems_.input("key \"", prefix_, key, "\" is missing");
      return absent.value_or(0);
    }
    const std::optional<std::int64_t> size = whole(*value);
    if (!size || *size < 1 || *size > max) {
      problems_.input("key \"", prefix_, key, "\" is ", shown(*value),
                      ", expected an integer between 1 and ", max);
      return 0;
    }
    return *size;
  }
  double positive(const std::string& key, std::optional<double> absent) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) {
      if (!absent) problems_.input("key \"", prefix_, key, "\" is missing");
      return absent.value_or(1);
    }
    if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() <= 0) {
      problems_.input("key \"", prefix_, key, "\" is ", shown(*value),
                      ", expected a positive number");
      return absent.value_or(1);
    }
    return value->get<double>();
  }
  bool boolean(const std::string& key, bool absent) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) {
      problems_.input("key \"", prefix_, key, "\" is ", shown(*value), ", expected true or false");
      return absent;
    }
    return value->get<bool>();
  }
  // Requires the only implemented value of a trait. Absent and null mean that value. Where it
  // switches something off, so does every other value that does.
  void only(const std::string& key, const nlohmann::json& supported) {
    const nlohmann::json* value = find(key);
    if (value != nullptr && *value != supported && !(is_off(supported) && is_off(*value)))
      problems_.unsupported("key \"", prefix_, key, "\" is ", shown(*value), "; only ",
                            supported.dump(), " is supported");
  }
  // Unless the key's value switches it off.
  void refuse(const std::string& key, const char* reason) {
    const nlohmann::json* value = find(key);
    if (value != nullptr && !is_off(*value))
      problems_.unsupported("key \"", prefix_, key, "\": ", reason);
  }
  using Rule = std::function<Neutral(const std::string& key, const nlohmann::json& value)>;
  void refuse_unknown(const std::set<std::string>& harmless, const Rule& rule = nullptr) {
    std::vector<std::string> known(seen_.begin(), seen_.end());
    known.insert(known.end(), harmless.begin(), harmless.end());
    for (const auto& [key, value] : object_.items()) {
      if (seen_.count(key) != 0 || harmless.count(key) != 0) continue;
      const Neutral neutral = rule ? rule(key, value) : Neutral{.yes = is_off(value)};
      if (neutral.yes) continue;
      if (!neutral.against.empty()) {
        problems_.unsupported("key \"", prefix_, key, "\" is ", shown(value),
                              ", but by the other keys it is ", neutral.against);
        continue;
      }
      const std::string near = core::nearest_name(key, known.data(), known.size());
      problems_.unsupported(
          "unknown key \"", prefix_, key, "\" = ", shown(value),
          near.empty() ? "; it may change what the model computes, remove it if it does not"
                       : "; did you mean \"" + near + "\"?");
    }
  }
  // A whole number, also one that is written as a real one: 4096.0. nullopt: none, or too large.
  static std::optional<std::int64_t> whole(const nlohmann::json& value) {
    const double real = value.is_number() ? value.get<double>() : std::nan("");
    if (!(std::fabs(real) < 0x1p53) || real != std::floor(real)) return std::nullopt;
    return static_cast<std::int64_t>(real);
  }
  static std::string shown(const nlohmann::json& value) {
    std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (text.size() > 60) text.replace(57, std::string::npos, "...");
    return text;
  }

 private:
  const nlohmann::json& object_;
  Problems& problems_;
  std::string prefix_;
  std::set<std::string> seen_;
};

}  // namespace espalier::checkpoint
