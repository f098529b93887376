// SPDX-License-Identifier: Apache-2.0
// Reads, checks and prints the values of described options.
#include "options/option.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/units.h"
#include "options/pattern.h"

namespace espalier::options {
namespace {

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

void require_choice(const Option& option, const std::string& text) {
  require_known(option.choices, text);
}

// All digits that are needed to read the same number again, but no more than people write.
std::string shortest(double value) {
  if (std::isnan(value)) return "nan";
  if (value == std::floor(value) && std::abs(value) < 1e15)
    return std::to_string(static_cast<std::int64_t>(value));
  for (int digits = 1; digits <= 17; ++digits) {
    char text[40];
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::stod(text) == value) return text;
  }
  return {};
}

// "0 to 1", "at least 2". Empty: any number.
std::string bounds_text(const Option& option) {
  const bool low = std::isfinite(option.least), high = std::isfinite(option.most);
  if (option.above_least)
    return "above " + shortest(option.least) + (high ? ", at most " + shortest(option.most) : "");
  if (low && high) return shortest(option.least) + " to " + shortest(option.most);
  if (low) return "at least " + shortest(option.least);
  return high ? "at most " + shortest(option.most) : "";
}

void require_range(const Option& option, double value) {
  const bool low = option.above_least ? value > option.least : value >= option.least;
  const std::string bounds = bounds_text(option);
  ESP_CHECK(std::isfinite(value), usage, shortest(value), ": expected a finite number",
            bounds.empty() ? "" : ", ", bounds);
  ESP_CHECK(low && value <= option.most, usage, shortest(value), ": expected ", bounds);
}

std::int64_t whole(const Option& option, const std::string& text) {
  ESP_CHECK(!text.starts_with('-'), usage, "expected a number from 0 on, not ", text);
  const std::int64_t value =
      option.unit == Unit::bytes ? core::parse_bytes(text, "") : core::parse_count(text, "");
  require_range(option, static_cast<double>(value));
  return value;
}

double real(const Option& option, const std::string& text) {
  const double value = parse_number(text);
  require_range(option, value);
  return value;
}

}  // namespace

double parse_number(const std::string& text) {
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* end = text.data() + text.size();
  double value = 0;
  const auto [stopped, error] = std::from_chars(begin, end, value);
  ESP_CHECK(error == std::errc() && stopped == end, usage, "'", text, "' is not a number");
  return value;
}

void require_known(const std::vector<std::string>& known, const std::string& text) {
  if (known.empty() || std::find(known.begin(), known.end(), text) != known.end() ||
      is_like_any(known, text))
    return;
  const std::string nearest = core::nearest_name(text, known.data(), known.size());
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  core::fail(core::ErrorKind::usage, "'", text, "' is not known",
             nearest.empty() ? "" : "; did you mean '" + nearest + "'?", " (known: ", list, ")");
}

const Option* List::find(std::string_view name) const {
  for (const Option& option : options_)
    if (option.name == name) return &option;
  return nullptr;
}
const Option& List::at(std::string_view name) const {
  const Option* option = find(name);
  ESP_CHECK(option != nullptr, internal, "no option '", name, "' is described");
  return *option;
}

std::string flag_of(const Option& option) {
  if (!option.flag.empty()) return "--" + option.flag.substr(0, option.flag.find(','));
  std::string name = option.name;
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

bool is_list(const Option& option) {
  return std::holds_alternative<std::vector<std::string>*>(option.value);
}
bool is_map(const Option& option) {
  return std::holds_alternative<std::map<std::string, std::string>*>(option.value) ||
         std::holds_alternative<std::map<std::string, double>*>(option.value);
}

void read(const Option& option, const std::string& text) {
  std::visit(Overloaded{[&](bool* out) {
                          ESP_CHECK(text == "true" || text == "false", usage, "'", text,
                                    "': expected true or false");
                          *out = text == "true";
                        },
                        [&](std::int64_t* out) { *out = whole(option, text); },
                        [&](std::optional<std::int64_t>* out) { *out = whole(option, text); },
                        [&](double* out) { *out = real(option, text); },
                        [&](std::optional<double>* out) { *out = real(option, text); },
                        [&](std::string* out) {
                          require_choice(option, text);
                          *out = text;
                        },
                        [&](const Named& named) {
                          require_choice(option, text);
                          named.set(text);
                        },
                        [&](std::vector<std::string>*) { read_item(option, text); },
                        [&](auto* map) {
                          static_cast<void>(map);
                          core::fail(core::ErrorKind::usage, "expected a map (key: value)");
                        }},
             option.value);
}

void read_item(const Option& option, const std::string& item) {
  require_choice(option, item);
  std::get<std::vector<std::string>*>(option.value)->push_back(item);
}

void read_item(const Option& option, const std::string& key, const std::string& text) {
  require_choice(option, key);
  if (const auto* texts = std::get_if<std::map<std::string, std::string>*>(&option.value)) {
    require_known(option.values, text);
    ESP_CHECK((*texts)->emplace(key, text).second, usage, key, " is given twice; leave one out");
    return;
  }
  Option number = option;
  if (key.find("bytes") != std::string::npos) number.unit = Unit::bytes;
  auto& numbers = *std::get<std::map<std::string, double>*>(option.value);
  const double value =
      number.unit == Unit::bytes ? static_cast<double>(whole(number, text)) : real(number, text);
  ESP_CHECK(numbers.emplace(key, value).second, usage, key, " is given twice; leave one out");
}

void check(const Option& option) {
  std::visit(Overloaded{[&](std::int64_t* v) { require_range(option, static_cast<double>(*v)); },
                        [&](std::optional<std::int64_t>* v) {
                          if (*v) require_range(option, static_cast<double>(**v));
                        },
                        [&](double* v) { require_range(option, *v); },
                        [&](std::optional<double>* v) {
                          if (*v) require_range(option, **v);
                        },
                        [&](std::string* v) {
                          if (!v->empty()) require_choice(option, *v);
                        },
                        [&](std::vector<std::string>* v) {
                          for (const std::string& item : *v) require_choice(option, item);
                        },
                        [](const auto&) {}},
             option.value);
}
void check(const List& list) {
  for (const Option& option : list) {
    try {
      check(option);
    } catch (const core::Error& e) {
      core::fail(e.kind(), option.name, ": ", e.what());
    }
  }
}

std::string range_text(const Option& option) {
  if (!option.choices.empty()) {
    std::string out;
    for (const std::string& name : option.choices) out += (out.empty() ? "" : ", ") + name;
    return out;
  }
  return bounds_text(option);
}

std::string value_text(const Option& option) {
  return std::visit(
      Overloaded{
          [](bool* v) { return std::string(*v ? "true" : "false"); },
          [](std::int64_t* v) { return std::to_string(*v); },
          [](std::optional<std::int64_t>* v) { return *v ? std::to_string(**v) : std::string(); },
          [](double* v) { return shortest(*v); },
          [](std::optional<double>* v) { return *v ? shortest(**v) : std::string(); },
          [](std::string* v) { return *v; }, [](const Named& v) { return v.get(); },
          [](const auto& many) {
            static_cast<void>(many);
            return std::string();
          }},
      option.value);
}

std::string kind_text(const Option& option) {
  if (!option.choices.empty() && !is_map(option)) return "NAME";
  if (option.unit == Unit::bytes) return "SIZE";
  if (option.unit == Unit::file) return "FILE";
  return std::visit(
      Overloaded{[](bool*) { return "true or false"; }, [](std::int64_t*) { return "COUNT"; },
                 [](std::optional<std::int64_t>*) { return "COUNT"; },
                 [](double*) { return "NUMBER"; }, [](std::optional<double>*) { return "NUMBER"; },
                 [](std::vector<std::string>*) { return "list"; },
                 [](std::map<std::string, std::string>*) { return "map"; },
                 [](std::map<std::string, double>*) { return "map"; },
                 [](const auto&) { return "TEXT"; }},
      option.value);
}

}  // namespace espalier::options
